//! What a call takes on Supervisor beside the bare exchange: the same request over the same kind of connection, its
//! answer read by the same parser of XML-RPC. The server is the one that `SUBSTRATES_LAB_SUPERVISOR` names.

use std::process::ExitCode;
use std::sync::Arc;

use dxr::{MethodCall, MethodResponse, Value};
use substrates::Substrate;
use substrates::config::Section;
use substrates_benches::comparison::{Comparison, Row};
use substrates_benches::population::among;
use substrates_benches::{Failure, Promises, SERVE, say};

const PROCESSES: usize = 200;
const BESIDE: &str = "the same request by the bare clients `reqwest` and `dxr`";

fn main() -> Result<ExitCode, Failure> {
    let Ok(url) = std::env::var("SUBSTRATES_LAB_SUPERVISOR") else {
        say("SUBSTRATES_LAB_SUPERVISOR is not set: nothing is measured (cargo xtask lab up supervisor)");
        return Ok(ExitCode::SUCCESS);
    };
    // The bare client wants one, even where nothing is encrypted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let section = Section::from_value(serde_json::json!({
        "url": url,
        "include_folder": std::env::var("SUBSTRATES_LAB_SUPERVISOR_INCLUDE")?,
        "log_folder": std::env::var("SUBSTRATES_LAB_SUPERVISOR_LOGS")?,
    }));
    let ours: Arc<dyn Substrate> = substrates::registry().create("supervisor", "supervisor", &section)?;
    runtime.block_on(ours.connect())?;
    let socket = url.trim_start_matches("unix://").to_owned();
    // A connection for each request, as ours has it.
    let bare = reqwest::Client::builder().unix_socket(socket).pool_max_idle_per_host(0).build()?;
    let bare = &bare;
    let mut promises = Promises::default();
    among(
        &runtime,
        &*ours,
        PROCESSES,
        |config| config.with_command(SERVE),
        |running, _| {
            let mut comparison = Comparison { runtime: &runtime, ours: &*ours, promises: &mut promises };
            let what = format!("list of {PROCESSES} processes of Supervisor");
            comparison.list(Row { what: &what, beside: BESIDE, at_most: None }, PROCESSES, || {
                call(bare, "supervisor.getAllProcessInfo", Vec::new())
            })?;
            let what = "one process of Supervisor";
            let name = || vec![Value::String(running.to_string())];
            comparison.one(Row { what, beside: BESIDE, at_most: None }, running, || {
                call(bare, "supervisor.getProcessInfo", name())
            })
        },
    )?;
    Ok(promises.conclude())
}

async fn call(bare: &reqwest::Client, method: &str, arguments: Vec<Value>) -> Result<Value, Failure> {
    let body = MethodCall { name: method.into(), params: arguments }.to_xml()?;
    let request = bare.post("http://localhost/RPC2").header("content-type", "text/xml").body(body);
    let answer = request.send().await?.error_for_status()?.text().await?;
    Ok(MethodResponse::from_xml(&answer)?.value)
}
