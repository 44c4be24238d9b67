//! A stateful double of the Proxmox VE API: a small HTTP server on loopback that answers as the real daemons do.
//!
//! Tickets, CSRF and API tokens; tasks that take time, and are accepted although they will fail; locks; digests and
//! pending changes; a cluster view that lags; a guest agent with a few programs inside. Its clock runs faster than
//! ours ([`Setup::scale`]), so that its seconds cost milliseconds. Where the official schemas are at hand, every request
//! is checked against all of them.

#![allow(missing_docs, clippy::all, reason = "a tool of tests, and no part of any library")]

mod access;
mod agent;
mod clock;
mod cluster;
mod configuration;
mod console;
mod control;
mod copies;
mod faults;
mod guests;
mod http;
mod network;
mod params;
mod power;
mod reply;
mod schema;
mod snapshots;
mod storage;
mod tasks;
mod tls;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use faults::Fault;
pub use schema::Schema;
pub use tls::{AUTHORITY, FINGERPRINT};
pub use world::Kind;

use access::Caller;
use clock::Clock;
use http::Request;
use reply::{Answer, Refusal, fail};
use world::{Storage, User, World};

/// How a double is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Our seconds per second of the server's.
    pub scale: f64,
    pub nodes: Vec<String>,
    /// How many API hosts there are.
    pub hosts: usize,
    pub tls: bool,
    pub version: &'static str,
    /// Whether requests are checked against the schemas, and refused when they do not fit.
    pub checked: bool,
    pub times: Times,
}

/// What things take, in the server's seconds.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// To make a disk, under the storage's lock.
    pub allocation: f64,
    /// To copy one.
    pub copy: f64,
    pub create: f64,
    /// Small changes.
    pub quick: f64,
    /// To start, stop, snapshot.
    pub power: f64,
    /// From a start until the agent answers.
    pub agent: f64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            scale: 0.01,
            nodes: vec!["pve".to_owned()],
            hosts: 1,
            tls: false,
            version: "9.2.11",
            checked: true,
            times: guests::DEFAULT_TIMES,
        }
    }
}

pub(crate) fn no_method(method: &str, path: &str) -> Refusal {
    Refusal::new(501, format!("Method '{method} {path}' not implemented"))
}

#[derive(Clone)]
pub(crate) struct Shared {
    world: Arc<Mutex<World>>,
    pub(crate) clock: Clock,
    times: Arc<Mutex<Times>>,
    version: &'static str,
    schemas: Arc<Vec<Schema>>,
    strict: bool,
    requests: Arc<Mutex<Vec<String>>>,
    violations: Arc<Mutex<Vec<String>>>,
    pub(crate) faults: Arc<Mutex<Vec<faults::Planned>>>,
    latency: Arc<Mutex<Duration>>,
    pub(crate) consoles: console::SharedConsoles,
    /// What was uploaded and not yet taken, by its temporary name: how long it is, and its hash.
    pub(crate) uploads: Arc<Mutex<std::collections::HashMap<String, (u64, String)>>>,
    /// How long the locks of storages were held in all.
    pub(crate) held: Arc<Mutex<Duration>>,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        locked(&self.world)
    }

    pub(crate) fn times(&self) -> Times {
        *locked(&self.times)
    }

    pub(crate) async fn delay(&self) {
        let latency = *locked(&self.latency);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }

    pub(crate) async fn answer(&self, request: &Request) -> Answer {
        if !matches!(request.method.as_str(), "GET" | "POST" | "PUT" | "DELETE") {
            return Err(Refusal::empty(501, format!("method '{}' not available", request.method)));
        }
        let Some(segments) = http::segments(&request.path) else {
            return Err(Refusal::plain(501, format!("no such file '{}'", request.path)));
        };
        let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
        locked(&self.requests).push(format!("{} /{}{query}", request.method, segments.join("/")));
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        let mut params = http::parameters(request)?;
        if let Some((_, content)) = &request.parts {
            params.extend(self.keep_upload(content));
        }
        let is_login = request.method == "POST" && parts == ["access", "ticket"];
        let caller = match is_login || parts == ["access", "domains"] {
            true => Caller::nobody(),
            false => Caller { host: request.host, ..self.caller(&request.method, &request.headers)? },
        };
        self.check(request, &segments, &params)?;
        if is_login {
            return self.login(&params);
        }
        self.route(&request.method, &parts, &caller, &params).await
    }

    /// Holds a request against every schema that is there.
    fn check(&self, request: &Request, segments: &[String], params: &params::Params) -> Result<(), Refusal> {
        let mut first = None;
        for schema in self.schemas.iter() {
            let refusal = match schema.check(&request.method, segments, params) {
                Ok(problems) if problems.is_empty() => continue,
                Ok(problems) => Refusal::parameters(problems),
                Err(message) => Refusal::new(501, message),
            };
            if self.strict {
                let text = format!(
                    "{} /{}: not valid in {}: {} {:?}",
                    request.method,
                    segments.join("/"),
                    schema.name,
                    refusal.message,
                    refusal.errors
                );
                locked(&self.violations).push(text.clone());
                // A status that nothing else has: no test that expects a refusal may take it for one.
                return Err(Refusal::new(506, format!("SCHEMA VIOLATION: {text}")));
            }
            // Of several, the newest is the one that answers.
            first = Some(refusal);
        }
        first.map_or(Ok(()), Err)
    }

    async fn route(&self, method: &str, parts: &[&str], caller: &Caller, params: &params::Params) -> Answer {
        let unknown = || no_method(method, &format!("/{}", parts.join("/")));
        match (method, parts) {
            ("GET", ["version"]) => Ok(serde_json::json!({
                "version": self.version, "release": &self.version[..3], "repoid": "14a22df3lab"})),
            (_, ["access", rest @ ..]) => self.access(rest, method, params),
            (_, ["cluster", "sdn", rest @ ..]) => self.sdn(rest, method, caller, params),
            (_, ["cluster", rest @ ..]) => self.cluster(rest, method, params),
            ("GET", ["nodes"]) => self.nodes(),
            (_, ["pools"]) => self.pools(method, params),
            ("GET", ["storage"]) => {
                let world = self.world();
                let all = world.storages.iter().map(|(name, storage)| {
                    serde_json::json!({"storage": name, "type": storage.kind, "content": storage.content,
                        "shared": u8::from(storage.shared)})
                });
                Ok(all.collect::<Vec<_>>().into())
            }
            ("GET", ["storage", name]) => fail(format!("storage '{name}' does not exist")),
            (_, ["nodes", node, rest @ ..]) => {
                match self.world().nodes.get(*node).copied() {
                    None => {
                        return fail(format!(
                            "hostname lookup '{node}' failed - failed to get address info for: {node}: Name or service not known"
                        ));
                    }
                    Some(false) => return Err(Refusal::empty(595, "No route to host")),
                    Some(true) => {}
                }
                self.node(method, node, rest, caller, params).await
            }
            _ => Err(unknown()),
        }
    }

    async fn node(
        &self,
        method: &str,
        node: &str,
        rest: &[&str],
        caller: &Caller,
        params: &params::Params,
    ) -> Answer {
        let unknown = || no_method(method, &format!("/nodes/{node}/{}", rest.join("/")));
        match (method, rest) {
            ("GET", ["status"]) => Ok(serde_json::json!({"uptime": 5818, "cpu": 0,
                "pveversion": format!("pve-manager/{}/14a22df3lab", self.version)})),
            ("GET", ["time"]) => {
                let now = self.clock.seconds();
                Ok(serde_json::json!({"time": now, "localtime": now, "timezone": "UTC"}))
            }
            (_, ["network", rest @ ..]) => self.network_call(node, rest, method, caller, params),
            ("GET" | "POST", ["aplinfo"]) => self.appliances(node, method, caller, params),
            (_, ["tasks", rest @ ..]) => self.task_call(node, rest, method, params),
            (_, ["storage", rest @ ..]) => self.storage(node, rest, method, caller, params).await,
            (_, [word @ ("qemu" | "lxc"), rest @ ..]) => {
                let kind = if *word == "qemu" { Kind::Qemu } else { Kind::Lxc };
                match (method, rest) {
                    ("GET", []) => self.node_guests(kind, node),
                    ("POST", []) => self.create(kind, node, caller, params),
                    (_, [vmid, rest @ ..]) => {
                        let Ok(number) = vmid.parse::<u64>() else {
                            return Err(Refusal::parameter(
                                "vmid",
                                format!("type check ('integer') failed - got '{vmid}'"),
                            ));
                        };
                        self.guest_call(method, kind, node, number, rest, caller, params).await
                    }
                    _ => Err(unknown()),
                }
            }
            _ => Err(unknown()),
        }
    }

    #[allow(clippy::too_many_arguments)]
    async fn guest_call(
        &self,
        method: &str,
        kind: Kind,
        node: &str,
        vmid: u64,
        rest: &[&str],
        caller: &Caller,
        params: &params::Params,
    ) -> Answer {
        match (method, rest) {
            ("DELETE", []) => self.destroy(kind, node, vmid, caller, params),
            ("GET", ["config"]) => self.config(kind, node, vmid, params),
            ("PUT", ["config"]) => self.configure(kind, node, vmid, caller, params, false).await,
            ("POST", ["config"]) if kind == Kind::Qemu => {
                self.configure(kind, node, vmid, caller, params, true).await
            }
            ("GET", ["pending"]) => self.pending(kind, node, vmid),
            ("PUT", ["resize"]) => self.resize(kind, node, vmid, caller, params),
            ("POST", ["clone"]) => self.clone_guest(kind, node, vmid, caller, params),
            ("POST", ["template"]) => self.template(kind, node, vmid, caller),
            ("POST", ["migrate"]) => self.migrate(kind, node, vmid, caller, params),
            ("GET", ["status", "current"]) => self.current(kind, node, vmid),
            (
                "POST",
                [
                    "status",
                    word @ ("start" | "stop" | "shutdown" | "suspend" | "resume" | "reset" | "reboot"),
                ],
            ) => self.power(kind, node, vmid, word, caller, params),
            ("POST", ["termproxy"]) => self.open_console(kind, node, vmid, caller, params),
            ("GET", ["vncwebsocket"]) => {
                self.world().here(kind, node, vmid)?;
                self.check_console(vmid, caller, params)
            }
            ("GET", ["snapshot"]) => self.list_snapshots(kind, node, vmid),
            ("POST", ["snapshot"]) => self.take_snapshot(kind, node, vmid, caller, params),
            ("DELETE", ["snapshot", name]) => self.delete_snapshot(kind, node, vmid, name, caller),
            ("GET" | "PUT", ["snapshot", name, "config"]) => {
                self.snapshot_config(kind, node, vmid, name, params, method == "PUT")
            }
            ("POST", ["snapshot", name, "rollback"]) => self.rollback(kind, node, vmid, name, caller, params),
            (_, ["agent", what]) if kind == Kind::Qemu => self.agent(vmid, what, method, params),
            ("GET", ["rrddata"]) => {
                let mut world = self.world();
                world.here(kind, node, vmid)?;
                if let Some(record) = world.records.get(&vmid) {
                    return Ok(record.clone());
                }
                fail(format!(
                    "RRD error: rrdcached@unix:/var/run/rrdcached.sock: rrd_fetch_r failed: opening '/var/lib/rrdcached/db/pve-vm-9.0/{vmid}': No such file or directory"
                ))
            }
            ("GET", ["feature"]) => {
                self.world().here(kind, node, vmid)?;
                Ok(serde_json::json!({"hasFeature": 1, "nodes": [node]}))
            }
            _ => Err(no_method(method, &format!("/nodes/{node}/{}/{vmid}/{}", kind.word(), rest.join("/")))),
        }
    }
}

/// A running double. Its servers end when it is dropped.
pub struct Double {
    shared: Shared,
    addresses: Vec<SocketAddr>,
    servers: Vec<Mutex<Option<JoinHandle<()>>>>,
    tls: bool,
}

impl Drop for Double {
    fn drop(&mut self) {
        for server in &self.servers {
            if let Some(server) = locked(server).take() {
                server.abort();
            }
        }
        // Also what a provider did not look at: an answer that it can do without.
        let violations = self.violations();
        assert!(violations.is_empty() || std::thread::panicking(), "{violations:#?}");
    }
}

/// Where the schemas lie when they are at hand: beside the checkout.
fn schema_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/pve")
}

/// The schemas that are at hand, read once: they are large.
fn schemas() -> Arc<Vec<Schema>> {
    static READ: OnceLock<Arc<Vec<Schema>>> = OnceLock::new();
    let read = || {
        let names = ["apidoc-8.json", "apidoc-9.json", "apidoc-9.2-from-code.json"];
        Arc::new(names.iter().filter_map(|name| Schema::read(&schema_folder().join(name))).collect())
    };
    READ.get_or_init(read).clone()
}

impl Double {
    pub async fn start(setup: Setup) -> Self {
        let mut world = World { quorate: true, ..World::default() };
        world.nodes = setup.nodes.iter().map(|node| (node.clone(), true)).collect();
        let file = |volume: &str, content: &str, size: u64| (volume.to_owned(), content.to_owned(), size);
        world.storages.insert(
            "local".to_owned(),
            Storage {
                kind: "dir",
                content: "images,backup,iso,import,snippets,rootdir,vztmpl",
                shared: false,
                files: vec![
                    file("local:import/labguest.qcow2", "import", 64 << 20),
                    file("local:iso/tiny.iso", "iso", 1 << 20),
                    file("local:vztmpl/labct_1.0_amd64.tar.gz", "vztmpl", 1 << 20),
                ],
            },
        );
        world.storages.insert(
            "tank".to_owned(),
            Storage { kind: "zfspool", content: "images,rootdir", shared: false, files: Vec::new() },
        );
        let user = |password: &str| User { password: password.to_owned(), second_factor: false };
        world.users.insert("root@pam".to_owned(), user("labsecret"));
        world.users.insert("strict@pve".to_owned(), User { second_factor: true, ..user("labsecret") });
        world.tokens.insert("root@pam!lab".to_owned(), "57441adc-20c6-4869-a7ac-1f8500670747".to_owned());
        let shared = Shared {
            world: Arc::new(Mutex::new(world)),
            clock: Clock::new(setup.scale),
            times: Arc::new(Mutex::new(setup.times)),
            version: setup.version,
            schemas: schemas(),
            strict: setup.checked,
            requests: Arc::default(),
            violations: Arc::default(),
            faults: Arc::default(),
            latency: Arc::default(),
            consoles: Arc::default(),
            uploads: Arc::default(),
            held: Arc::default(),
        };
        let mut double = Self { shared, addresses: Vec::new(), servers: Vec::new(), tls: setup.tls };
        for host in 0..setup.hosts {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port on loopback");
            double.addresses.push(listener.local_addr().expect("its address"));
            double.servers.push(Mutex::new(Some(double.serve(host, listener))));
        }
        double
    }

    fn serve(&self, host: usize, listener: TcpListener) -> JoinHandle<()> {
        tokio::spawn(http::serve(self.shared.clone(), host, listener, self.tls.then(tls::acceptor)))
    }

    /// The address of an API host.
    pub fn url(&self, host: usize) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.addresses[host])
    }

    pub fn urls(&self) -> Vec<String> {
        (0..self.addresses.len()).map(|host| self.url(host)).collect()
    }
}
