//! What a call takes on Proxmox VE beside the same requests by a bare client. A node needs a machine and a kernel of its
//! own, so what answers both is the double that the provider is tested on: the ratio tells what the provider adds to an
//! exchange, and nothing of how long a real node takes for one.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use substrate_proxmox_double::{Double, Setup};
use substrates::config::Section;
use substrates::{InstanceFilter, InstanceName, Substrate};
use substrates_benches::comparison::{Comparison, Row};
use substrates_benches::population::among;
use substrates_benches::{Failure, Promises};
use tokio::runtime::{Builder, Runtime};

const GUESTS: usize = 200;
const BESIDE: &str = "the same requests by the bare client `reqwest`";
/// What the double knows.
const TOKEN: (&str, &str) = ("root@pam!lab", "57441adc-20c6-4869-a7ac-1f8500670747");
const IMAGE: &str = "local:import/labguest.qcow2";
/// Between two looks at whether a command has ended, as ours has it.
const PAUSE: Duration = Duration::from_millis(15);
/// Of what was changed a moment ago ours asks more, for the cluster's own list is behind by seconds.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);

fn main() -> Result<ExitCode, Failure> {
    // The bare client wants one, even where nothing is encrypted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // On a thread of its own: what it computes is nobody's cost here.
    let elsewhere = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let double = elsewhere.block_on(Double::start(Setup { checked: false, ..Setup::default() }));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let (token, secret) = TOKEN;
    let section = Section::from_value(serde_json::json!({
        "hosts": double.urls(),
        "token_id": token,
        "token_secret": secret,
    }));
    let ours: Arc<dyn Substrate> = substrates::registry().create("proxmox", "proxmox", &section)?;
    runtime.block_on(ours.connect())?;
    let bare = Bare { http: reqwest::Client::builder().http1_only().build()?, url: double.url(0) };
    let mut promises = Promises::default();
    among(
        &runtime,
        &*ours,
        GUESTS,
        |config| config.with_image(IMAGE),
        |running, _| {
            calls(
                &double,
                Comparison { runtime: &runtime, ours: &*ours, promises: &mut promises },
                &bare,
                running,
            )
        },
    )?;
    Ok(promises.conclude())
}

fn calls(
    double: &Double,
    mut comparison: Comparison<'_>,
    bare: &Bare,
    running: &InstanceName,
) -> Result<(), Failure> {
    let (runtime, ours) = (comparison.runtime, comparison.ours);
    let machine = runtime.block_on(ours.get_instance(running))?;
    let vmid = machine.properties.get("vmid").and_then(Value::as_u64).ok_or("a guest without a number")?;
    let guest = &format!("nodes/pve/qemu/{vmid}");

    let list = || bare.get("cluster/resources?type=vm".to_owned());
    let all = &InstanceFilter::all();
    same_requests(double, runtime, || ours.list_instances(all), list)?;
    let what = format!("list of {GUESTS} guests of Proxmox VE, of a double");
    comparison.list(Row { what: &what, beside: BESIDE, at_most: Some(1.2) }, GUESTS, list)?;

    let one = || async {
        list().await?;
        tokio::try_join!(
            bare.get(format!("{guest}/config?current=1")),
            bare.get(format!("{guest}/status/current")),
        )?;
        bare.get(format!("{guest}/agent/network-get-interfaces")).await
    };
    same_requests(double, runtime, || ours.get_instance(running), one)?;
    let what = "one guest of Proxmox VE that runs, of a double";
    comparison.one(Row { what, beside: BESIDE, at_most: None }, running, one)?;

    let what = "command `true` on Proxmox VE, on a double";
    comparison.command(Row { what, beside: BESIDE, at_most: None }, running, || async {
        list().await?;
        tokio::try_join!(
            bare.get(format!("{guest}/config?current=1")),
            bare.get(format!("{guest}/status/current")),
        )?;
        let begun = bare.post(format!("{guest}/agent/exec"), "command=true").await?;
        let pid = begun.get("pid").and_then(Value::as_i64).ok_or("a command without a number")?;
        let look = || bare.get(format!("{guest}/agent/exec-status?pid={pid}"));
        while look().await?.get("exited").is_none_or(|exited| *exited != 1 && *exited != true) {
            tokio::time::sleep(PAUSE).await;
        }
        Ok::<_, Failure>(())
    })
}

/// Waits until both ask the same.
fn same_requests<T, F: Future<Output = substrates::Result<T>>, G: Future<Output = Result<Value, Failure>>>(
    double: &Double,
    runtime: &Runtime,
    ours: impl Fn() -> F,
    bare: impl Fn() -> G,
) -> Result<(), Failure> {
    let asked = || {
        let mut requests = double.take_requests();
        requests.sort_unstable();
        requests
    };
    let deadline = Instant::now() + SETTLES_WITHIN;
    loop {
        asked();
        runtime.block_on(ours())?;
        let by_ours = asked();
        runtime.block_on(bare())?;
        let by_theirs = asked();
        if by_ours == by_theirs {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("ours asks {by_ours:?}, the bare client {by_theirs:?}").into());
        }
        runtime.block_on(tokio::time::sleep(Duration::from_millis(200)));
    }
}

/// Requests and nothing else.
struct Bare {
    http: reqwest::Client,
    url: String,
}

impl Bare {
    async fn get(&self, path: String) -> Result<Value, Failure> {
        self.answer(self.http.get(self.to(&path))).await
    }

    async fn post(&self, path: String, form: &'static str) -> Result<Value, Failure> {
        let request = self.http.post(self.to(&path)).body(form);
        self.answer(request.header("content-type", "application/x-www-form-urlencoded")).await
    }

    fn to(&self, path: &str) -> String {
        format!("{}/api2/json/{path}", self.url)
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let (token, secret) = TOKEN;
        let request = request.header("authorization", format!("PVEAPIToken={token}={secret}"));
        let text = request.send().await?.error_for_status()?.bytes().await?;
        let mut answer: Value = serde_json::from_slice(&text)?;
        Ok(answer.get_mut("data").map(Value::take).unwrap_or_default())
    }
}
