//! From a configuration to a program's file.

use std::fmt::Write;
use std::path::Path;

use substrate_core::{Error, InstanceConfig, Result};

use super::ini;
use super::record::Record;
use crate::options::SupervisorOptions;

/// A program about to be created.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) record: Record,
    argv: Vec<String>,
    options: SupervisorOptions,
    environment: String,
}

impl Program {
    /// Everything that can be said about a configuration without looking at any machine.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub(crate) fn of(config: &InstanceConfig, key: &str, log_folder: Option<&Path>) -> Result<Self> {
        let options = SupervisorOptions::of(config)?;
        let name = config.name.as_str();
        let argv = argv(config.image.as_deref(), &config.command)?;
        // Written again with the rest; what is wrong with it must be said now.
        ini::command(&argv)?;
        let record = Record {
            name: name.to_owned(),
            key: key.to_owned(),
            image: config.image.clone(),
            labels: config.labels.clone(),
            metadata: config.metadata.clone(),
            autorestart: options.autorestart.unwrap_or_default(),
            stopsignal: options.stopsignal.unwrap_or_default(),
            logs: log_files(name, key, log_folder, options.redirect_stderr == Some(true))?,
            created_at: None,
        };
        let environment = ini::environment(config.environment.iter())?;
        Ok(Self { record, argv, options, environment })
    }

    /// The whole file.
    pub(crate) fn file(&self) -> Result<String> {
        let options = &self.options;
        let mut text = self.record.line()?;
        text.push_str(
            "; Written by a program. It goes when the instance is deleted; changes are not kept.\n",
        );
        let _ = writeln!(text, "[program:{}]", self.record.name);
        let mut set = |key: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(text, "{key}={value}");
        };
        set("command", &ini::command(&self.argv)?);
        // What is created is stopped: supervisord would start it at once.
        set("autostart", &false);
        set("autorestart", &self.record.autorestart.word());
        set("stopsignal", &self.record.stopsignal.word());
        set("stopasgroup", &options.stopasgroup.unwrap_or(true));
        if !self.environment.is_empty() {
            set("environment", &self.environment);
        }
        if let Some(directory) = &options.directory {
            set("directory", directory);
        }
        if let Some(user) = &options.user {
            set("user", user);
        }
        if let Some(umask) = &options.umask {
            set("umask", umask);
        }
        for (key, number) in [
            ("startsecs", options.startsecs),
            ("startretries", options.startretries),
            ("stopwaitsecs", options.stopwaitsecs),
            ("stdout_logfile_maxbytes", options.logfile_maxbytes),
            ("stderr_logfile_maxbytes", options.logfile_maxbytes),
            ("stdout_logfile_backups", options.logfile_backups.map(u32::from)),
            ("stderr_logfile_backups", options.logfile_backups.map(u32::from)),
        ] {
            if let Some(number) = number {
                set(key, &number);
            }
        }
        if let Some(priority) = options.priority {
            set("priority", &priority);
        }
        if let Some(codes) = &options.exitcodes {
            let codes: Vec<String> = codes.iter().map(u8::to_string).collect();
            set("exitcodes", &codes.join(","));
        }
        set("redirect_stderr", &options.redirect_stderr.unwrap_or(false));
        for (key, file) in ["stdout_logfile", "stderr_logfile"].into_iter().zip(&self.record.logs) {
            set(key, file);
        }
        Ok(text)
    }

    /// What `getAllConfigInfo` tells as the command, if this file and no other has the word.
    pub(crate) fn command(&self) -> Result<String> {
        // As it is once formats are expanded and lines are joined.
        Ok(ini::command(&self.argv)?.replace("%%", "%").replace("\n ", "\n"))
    }
}

/// What is run.
///
/// A process' image is the executable file, and its command the argument vector: by themselves each says what to
/// run. Together they must agree, since supervisord has one word for both and passes a file's path as the first
/// argument: the command's program is the image, by its path or its file name.
fn argv(image: Option<&str>, command: &[String]) -> Result<Vec<String>> {
    if let Some(image) = image {
        if !image.starts_with('/') {
            return Err(Error::invalid_input(format!(
                "the image `{}` is not the absolute path of an executable file",
                image.escape_debug()
            ))
            .with_hint("the image of a process is its program; give a path, or a command alone"));
        }
        ini::command(&[image.to_owned()])?;
    }
    match (image, command) {
        (None, []) => Err(Error::invalid_input("neither an image nor a command says what to run")
            .with_hint("give the path of an executable file as `image`, or a `command`")),
        (None, command) => Ok(command.to_vec()),
        (Some(image), []) => Ok(vec![image.to_owned()]),
        (Some(image), [program, arguments @ ..]) => {
            let file_name = image.rsplit('/').next();
            if program != image && Some(program.as_str()) != file_name {
                return Err(Error::invalid_input(format!(
                    "the image is `{}`, and the command runs `{}`",
                    image.escape_debug(),
                    program.escape_debug()
                ))
                .with_hint("name the image's own program first in the command, or leave the image out"));
            }
            Ok([image.to_owned()].into_iter().chain(arguments.iter().cloned()).collect())
        }
    }
}

/// Standard output first. Named by the creation, so that a later one of the same name has none of its lines.
fn log_files(name: &str, key: &str, folder: Option<&Path>, redirected: bool) -> Result<Vec<String>> {
    let Some(folder) = folder else { return Ok(Vec::new()) };
    let folder = ini::plain("log_folder", folder.to_str().unwrap_or_default())?.trim_end_matches('/');
    let streams: &[&str] = if redirected { &["stdout"] } else { &["stdout", "stderr"] };
    Ok(streams.iter().map(|stream| format!("{folder}/{name}-{key}-{stream}.log")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> InstanceConfig {
        InstanceConfig::new("web".parse().unwrap())
    }

    fn file(config: &InstanceConfig) -> String {
        let program = Program::of(config, "0123456789abcdef", Some(Path::new("/logs"))).unwrap();
        program.file().unwrap().split_once('\n').unwrap().1.to_owned()
    }

    #[test]
    fn a_created_program_does_not_start_by_itself_and_is_asked_as_a_whole() {
        let file = file(&config().with_command(["sleep", "9"]).with_environment("A", "b"));
        assert_eq!(
            file.split_once('\n').unwrap().1,
            "[program:web]\ncommand=sleep 9\nautostart=false\nautorestart=false\nstopsignal=TERM\n\
             stopasgroup=true\nenvironment=A=\"b\"\nredirect_stderr=false\n\
             stdout_logfile=/logs/web-0123456789abcdef-stdout.log\n\
             stderr_logfile=/logs/web-0123456789abcdef-stderr.log\n"
        );
    }

    #[test]
    fn an_image_is_a_program_and_agrees_with_the_command() {
        let argv = |image: Option<&str>, command: &[&str]| {
            argv(image, &command.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(argv(Some("/bin/sh"), &[]).unwrap(), ["/bin/sh"]);
        assert_eq!(argv(None, &["sh", "-c"]).unwrap(), ["sh", "-c"]);
        assert_eq!(argv(Some("/bin/sh"), &["sh", "-c"]).unwrap(), ["/bin/sh", "-c"]);
        assert_eq!(argv(Some("/bin/sh"), &["/bin/sh"]).unwrap(), ["/bin/sh"]);
        for (image, command) in
            [(None, &[][..]), (Some("sh"), &[]), (Some("nginx:1.27"), &[]), (Some("/bin/sh"), &["bash"])]
        {
            assert!(argv(image, command).unwrap_err().is_invalid_input(), "{image:?} {command:?}");
        }
    }

    #[test]
    fn no_value_begins_a_setting_of_its_own() {
        let hostile = "x\ncommand=evil\n[program:evil]\ncommand=evil";
        let file = file(&config().with_command(["echo", hostile]).with_environment("A", hostile));
        let begins = |start: &str| file.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!((begins("command="), begins("[")), (1, 1), "{file}");
    }
}
