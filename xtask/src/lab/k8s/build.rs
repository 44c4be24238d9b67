//! The programs of a Kubernetes node, built from the distribution's own source package: it has them in no other form.
//!
//! Built once, kept beside the servers' state, built anew when absent or when the way of building changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::patch;
use crate::command::{command, output, shown};
use crate::lab::packages::{self, Package, install};

/// What the lab needs of it. No `kube-proxy`: the addresses of services are not used, only the services.
pub const PROGRAMS: &[&str] = &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"];
/// Holds a pod's network namespace.
pub const PAUSE: &str = "pause";
pub const ETCD: &str = "etcd";

/// Of the programs, for their version; the package's own is longer.
const VERSION: &str = "1.20.2";
/// Names the cached build: change it with the way of building.
const BUILD: &str = "kubernetes-1.20.2-go1.19-3";
const GO: &str = "/usr/lib/go-1.19/bin/go";

const COMPILER: &[Package] = &[Package::of_program("golang-1.19-go", GO), Package::new("golang-1.19-src")];

/// A pause container in Go, so that no C compiler is needed.
const PAUSE_SOURCE: &str = r#"package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			os.Exit(0)
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
"#;

/// The built programs.
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Builds what is absent.
    pub fn ensure(&self, log: &Path) -> Result<()> {
        fs::create_dir_all(&self.folder)?;
        if !self.path(ETCD).exists() {
            self.take_etcd()?;
        }
        let stamp = self.folder.join("build");
        if fs::read_to_string(&stamp).is_ok_and(|built| built == BUILD) {
            return Ok(());
        }
        install(COMPILER, log)?;
        let work = Work { folder: self.folder.join("work") };
        work.unpack()?;
        work.generate()?;
        println!("lab: building Kubernetes {VERSION} (some minutes)");
        work.build()?;
        for program in PROGRAMS.iter().chain([&PAUSE]) {
            fs::rename(work.folder.join("out").join(program), self.path(program))?;
        }
        fs::write(stamp, BUILD)?;
        // More than a gigabyte.
        fs::remove_dir_all(&work.folder).context("cannot remove the folder of the build")
    }

    /// Out of its package, which is not installed: that would start a service.
    fn take_etcd(&self) -> Result<()> {
        let folder = self.folder.join("etcd-package");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        packages::download(&["etcd-server"], None, &folder)?;
        let package = packages::file_ending(&folder, ".deb")?;
        output(command("dpkg-deb").arg("--extract").arg(&package).arg(&folder))?;
        fs::rename(folder.join("usr/bin/etcd"), self.path(ETCD)).context("the package has no etcd")?;
        Ok(fs::remove_dir_all(&folder)?)
    }
}

/// A build under way.
struct Work {
    folder: PathBuf,
}

impl Work {
    /// Where Go looks for the package `k8s.io/kubernetes`: built as its makers built it, before modules.
    fn source(&self) -> PathBuf {
        self.folder.join("gopath/src/k8s.io/kubernetes")
    }

    fn unpack(&self) -> Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        for folder in ["download", "tmp", "out", "gocache", "pause"] {
            fs::create_dir_all(self.folder.join(folder))?;
        }
        fs::create_dir_all(self.source())?;
        println!("lab: fetching the source of Kubernetes");
        let download = self.folder.join("download");
        packages::download_source("kubernetes", &download)?;
        let archive = packages::file_ending(&download, ".orig.tar.gz")?;
        output(
            command("tar").arg("-xzf").arg(&archive).arg("-C").arg(self.source()).arg("--strip-components=1"),
        )?;
        patch::apply(&self.source())
    }

    /// Makes the one file that the source lacks and the API server needs.
    fn generate(&self) -> Result<()> {
        let source = self.source();
        if source.join("pkg/generated/openapi/zz_generated.openapi.go").exists() {
            return Ok(());
        }
        let generator = self.folder.join("openapi-gen");
        self.go(&["build", "-o"], &[&generator], &["./vendor/k8s.io/kube-openapi/cmd/openapi-gen"])?;
        let mut generate = command("nice");
        generate
            .args(["-n", "10"])
            .arg(&generator)
            .args(["--logtostderr", "-i", &packages_to_describe(&source)?.join(",")])
            .args(["-p", "k8s.io/kubernetes/pkg/generated/openapi", "-O", "zz_generated.openapi"])
            .args(["-h", "vendor/k8s.io/code-generator/hack/boilerplate.go.txt", "-r"])
            .arg(self.folder.join("violations"));
        self.environment(&mut generate);
        output(&mut generate).map(drop)
    }

    fn build(&self) -> Result<()> {
        let mut settings = "-s -w".to_owned();
        for package in ["component-base/version", "client-go/pkg/version"] {
            let package = format!("k8s.io/kubernetes/vendor/k8s.io/{package}");
            for (name, value) in [
                ("gitMajor", "1"),
                ("gitMinor", "20"),
                ("gitVersion", &format!("v{VERSION}")),
                ("gitTreeState", "archive"),
                ("buildDate", "2021-01-13T00:00:00Z"),
            ] {
                settings.push_str(&format!(" -X {package}.{name}={value}"));
            }
        }
        let commands: Vec<String> = PROGRAMS.iter().map(|program| format!("./cmd/{program}")).collect();
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        // Without the clouds' own code.
        self.go(
            &["build", "-tags", "providerless", "-ldflags", &settings, "-o"],
            &[&self.folder.join("out/")],
            &commands,
        )?;
        let pause = self.folder.join("pause/pause.go");
        fs::write(&pause, PAUSE_SOURCE)?;
        self.go(&["build", "-ldflags", "-s -w", "-o"], &[&self.folder.join("out").join(PAUSE), &pause], &[])
    }

    fn go(&self, first: &[&str], paths: &[&Path], last: &[&str]) -> Result<()> {
        let mut go = command("nice");
        go.args(["-n", "10", GO]).args(first).args(paths).args(last);
        self.environment(&mut go);
        let status = go.status().with_context(|| format!("cannot run {}", shown(&go)))?;
        if !status.success() {
            bail!("{} ended with {status}", shown(&go));
        }
        Ok(())
    }

    fn environment(&self, program: &mut Command) {
        // The vendored folder holds every dependency: nothing is downloaded.
        program
            .current_dir(self.source())
            .env_remove("GOROOT")
            .env("GOPATH", self.folder.join("gopath"))
            .env("GOCACHE", self.folder.join("gocache"))
            .env("GOTMPDIR", self.folder.join("tmp"))
            .env("GO111MODULE", "off")
            .env("CGO_ENABLED", "0")
            .env("GOPROXY", "off")
            .env("GOENV", "off")
            .env("GOFLAGS", "");
        let mut path = std::ffi::OsString::from("/usr/lib/go-1.19/bin:");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        program.env("PATH", path);
    }
}

/// The Go packages with types that the API describes.
fn packages_to_describe(source: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for root in ["pkg", "cmd", "plugin", "staging/src/k8s.io"] {
        describe_below(source, &source.join(root), &mut found)?;
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn describe_below(source: &Path, folder: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            if name != "code-generator" && name != "sample-apiserver" {
                describe_below(source, &entry.path(), found)?;
            }
        } else if name.ends_with(".go")
            && !name.ends_with("_test.go")
            && !name.contains("zz_generated")
            && fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("+k8s:openapi-gen="))
        {
            let package = folder.strip_prefix(source)?.display().to_string();
            let package = package.replacen("staging/src/", "vendor/", 1);
            found.push(format!("k8s.io/kubernetes/{package}"));
        }
    }
    Ok(())
}
