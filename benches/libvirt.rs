//! What a call takes on libvirt beside the bare calls of its C library, on the hypervisor that `SUBSTRATES_LAB_LIBVIRT`
//! names.
//!
//! The bare calls learn what an instance tells: the states of all machines in the library's bulk call and each machine's
//! document. For a command they start it by the guest's agent and ask, without a pause, until it ended; ours also learns whether
//! the agent is there, and takes output of any length while it comes.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};
use substrates::config::Section;
use substrates::{InstanceName, Substrate};
use substrates_benches::comparison::{Comparison, Row};
use substrates_benches::population::among;
use substrates_benches::{Failure, Promises, say};
use virt::connect::Connect;
use virt::domain::{Domain, DomainInfo};
use virt::error::Error;
use virt::sys;

const MACHINES: usize = 200;
/// How long the agent may take for one answer, in seconds.
const ANSWER: i32 = 20;

fn main() -> Result<ExitCode, Failure> {
    let Ok(uri) = std::env::var("SUBSTRATES_LAB_LIBVIRT") else {
        say("SUBSTRATES_LAB_LIBVIRT is not set: nothing is measured (cargo xtask lab up libvirt)");
        return Ok(ExitCode::SUCCESS);
    };
    let told = |name: &str| std::env::var(format!("SUBSTRATES_LAB_LIBVIRT_{name}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();

    let section = Section::from_value(json!({
        "uri": uri,
        "pool": "machines",
        "image_pool": "images",
        "images": { "guest": {
            "volume": told("VOLUME")?,
            "kernel": told("KERNEL")?,
            "initrd": told("INITRD")?,
            "kernel_arguments": told("KERNEL_ARGUMENTS")?,
        } },
        "domain_type": "qemu",
        "default_resources": { "memory_mb": 96, "cpu_cores": 1.0 },
    }));
    let libvirt: Arc<dyn Substrate> = substrates::registry().create("libvirt", "libvirt", &section)?;
    runtime.block_on(libvirt.connect())?;
    let bare = Connect::open(Some(&uri))?;
    let mut promises = Promises::default();
    among(
        &runtime,
        &*libvirt,
        MACHINES,
        |config| config.with_image("guest"),
        |running, stopped| {
            let comparison = Comparison { runtime: &runtime, ours: &*libvirt, promises: &mut promises };
            calls(comparison, &bare, running, stopped)
        },
    )?;
    Ok(promises.conclude())
}

fn calls(
    mut comparison: Comparison<'_>,
    bare: &Connect,
    running: &InstanceName,
    stopped: &InstanceName,
) -> Result<(), Failure> {
    let row = |what, at_most| Row { what, beside: "the C library's bare calls", at_most };
    let list = format!("list of {MACHINES} machines of libvirt");
    comparison.list(row(&list, Some(1.2)), MACHINES, async || bare_list(bare))?;
    // Of one that runs ours also asks for its addresses, for which the binding has no call that can be repeated.
    comparison
        .one(row("one machine of libvirt that is off", None), stopped, async || bare_look(bare, stopped))?;
    let domain = bare.lookup_domain_by_name(running.as_str())?;
    let command = Row { beside: "bare calls of the guest's agent", ..row("command `true` on libvirt", None) };
    comparison.command(command, running, async || bare_command(&domain))
}

fn bare_list(connect: &Connect) -> Result<usize, Error> {
    let states = connect.all_domain_stats(sys::VIR_DOMAIN_STATS_STATE, 0)?;
    for domain in connect.list_all_domains(0)? {
        std::hint::black_box(domain.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)?);
    }
    Ok(states.len())
}

fn bare_look(connect: &Connect, name: &InstanceName) -> Result<(DomainInfo, String), Error> {
    let domain = connect.lookup_domain_by_name(name.as_str())?;
    Ok((domain.info()?, domain.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)?))
}

fn bare_command(domain: &Domain) -> Result<(), Failure> {
    let ask = |execute: &str, arguments: Value| -> Result<Value, Failure> {
        let request = json!({ "execute": execute, "arguments": arguments }).to_string();
        Ok(serde_json::from_str(&domain.qemu_agent_command(&request, ANSWER, 0)?)?)
    };
    let started = ask("guest-exec", json!({ "path": "true", "capture-output": true }))?;
    let process = started.pointer("/return/pid").ok_or("the agent tells no process")?;
    loop {
        let status = ask("guest-exec-status", json!({ "pid": process }))?;
        if status.pointer("/return/exited") == Some(&Value::Bool(true)) {
            return match status.pointer("/return/exitcode") {
                Some(code) if *code == 0 => Ok(()),
                _ => Err(format!("it ended with {status}").into()),
            };
        }
    }
}
