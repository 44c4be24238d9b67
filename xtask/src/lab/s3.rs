//! A server that speaks S3, for journals in a bucket: `moto`, in a Python environment of its own.
//!
//! Of the distribution's servers that speak S3, none creates an object only if it is absent; this one does.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::packages::{Package, install};
use super::process::{ProcessId, tail};
use super::{Action, DaemonStatus, Server, create_private_directory};
use crate::command::{command, run};
use crate::wait::until;

const NAME: &str = "s3";
const PACKAGES: &[Package] = &[Package::new("python3-venv")];
/// Of the server's many parts, these serve S3 over HTTP.
const PYTHON_PACKAGES: [&str; 3] = ["moto==5.2.5", "flask==3.1.2", "flask-cors==6.0.1"];
/// The distribution's own: another one in the search path may have no environments.
const PYTHON: &str = "/usr/bin/python3";
const BUCKET: &str = "journals";
const PATIENCE: Duration = Duration::from_secs(60);

pub struct S3Server {
    home: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Record {
    process: ProcessId,
    port: u16,
}

impl S3Server {
    pub fn new(lab: &Path) -> Self {
        Self { home: lab.join(NAME) }
    }

    fn program(&self) -> PathBuf {
        self.home.join("python/bin/moto_server")
    }

    fn log(&self) -> PathBuf {
        self.home.join("console.log")
    }

    fn record_file(&self) -> PathBuf {
        self.home.join("daemon.json")
    }

    fn running(&self) -> Result<Option<Record>> {
        let file = self.record_file();
        if !file.exists() {
            return Ok(None);
        }
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let record: Record =
            serde_json::from_slice(&text).with_context(|| format!("{} is torn", file.display()))?;
        Ok(record.process.is_alive().then_some(record))
    }
}

impl Server for S3Server {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_substrate(&self) -> bool {
        false
    }

    fn install(&self) -> Result<()> {
        create_private_directory(&self.home)?;
        install(PACKAGES, &self.home.join("apt.log"))?;
        if self.program().exists() {
            return Ok(());
        }
        println!("lab: installing {}", PYTHON_PACKAGES.join(" "));
        let environment = self.home.join("python");
        run(command(PYTHON).args(["-m", "venv", "--clear"]).arg(&environment))?;
        let pip = environment.join("bin/pip").display().to_string();
        run(command(&pip).args(["install", "--quiet", "--disable-pip-version-check"]).args(PYTHON_PACKAGES))
    }

    fn up(&self) -> Result<bool> {
        if self.running()?.is_some() {
            return Ok(false);
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let log = File::create(self.log())?;
        // A session of its own, so that neither the end of this tool nor a Ctrl-C reaches it.
        let child = command("setsid")
            .arg(self.program())
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .current_dir("/")
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run moto_server")?;
        let failed = |what: &str| format!("{what}; the end of its log:\n{}", tail(&self.log(), 20));
        let pid = i32::try_from(child.id()).context("the process id is out of range")?;
        let process = ProcessId::of(pid).with_context(|| failed("moto_server ended at once"))?;
        fs::write(self.record_file(), serde_json::to_vec_pretty(&Record { process, port })?)?;
        let answered = until(PATIENCE, || {
            if !process.is_alive() {
                bail!(failed("moto_server ended before it answered"));
            }
            Ok(make_bucket(port).is_ok())
        })?;
        if !answered {
            bail!(failed("moto_server does not answer"));
        }
        Ok(true)
    }

    fn down(&self, keep_state: bool) -> Result<()> {
        if let Some(record) = self.running()? {
            record.process.end(Duration::from_secs(5))?;
        }
        if self.record_file().exists() {
            fs::remove_file(self.record_file())?;
        }
        // What was written is in the process; what is left is what was installed.
        if !keep_state && self.home.exists() {
            fs::remove_dir_all(&self.home)?;
        }
        Ok(())
    }

    fn status(&self) -> Result<Vec<DaemonStatus>> {
        let running = self.running()?;
        let address = running.as_ref().map_or_else(|| "-".to_owned(), |record| address(record.port));
        let version = running.as_ref().and_then(|record| make_bucket(record.port).ok());
        let pid = running.map(|record| record.process.pid);
        Ok(vec![DaemonStatus { daemon: NAME.to_owned(), pid, version, address }])
    }

    fn environment(&self) -> Result<Vec<(String, String)>> {
        let record = self.running()?.context("the server does not run")?;
        Ok(vec![
            ("SUBSTRATES_LAB_S3".to_owned(), address(record.port)),
            ("SUBSTRATES_LAB_S3_BUCKET".to_owned(), BUCKET.to_owned()),
        ])
    }

    fn control(&self, _daemon: &str, _action: Action) -> Result<bool> {
        Ok(false)
    }
}

fn address(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Makes the bucket, which may be there already, and gives the name of the server that answered.
fn make_bucket(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "PUT /{BUCKET} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, _) = answer.split_once("\r\n\r\n").context("the answer broke off")?;
    let made = head.split_whitespace().nth(1).is_some_and(|status| matches!(status, "200" | "409"));
    if !made {
        bail!("the bucket cannot be made: {}", head.lines().next().unwrap_or_default());
    }
    let server = head.lines().find_map(|line| line.strip_prefix("Server: "));
    Ok(server.unwrap_or("unknown").to_owned())
}
