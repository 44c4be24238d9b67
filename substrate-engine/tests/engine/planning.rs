//! Plans: what, in which order, and why.

use serde_json::json;
use substrate_engine::plan::{Cause, Observation, Observed, Plan, Recorded, StepAction, plan};

use super::{deployed, desired, plan_of, steps};

fn shop(body: &str) -> String {
    format!("name: shop\nresources:\n{body}\n")
}

/// The plan from one blueprint to another, with the first deployed and seen as it was.
fn from_to(before: &str, after: &str) -> Plan {
    plan_of(&shop(after), &deployed(&desired(&shop(before))))
}

fn seen(name: &str, observation: Observation) -> Observed {
    Observed::from_iter([(format!("shop/{name}").parse().unwrap(), observation)])
}

const WEB: &str = "  - {type: compute, name: web, specs: {image: nginx, memory: 512MiB}}";

#[test]
fn limits_are_updated_and_an_image_is_replaced() {
    let plan = from_to(WEB, &WEB.replace("512MiB", "1GiB"));
    assert_eq!(steps(&plan), ["update shop/web"]);
    assert_eq!(plan.steps[0].causes[0].to_string(), "limits.memory_mb: 512 → 1024");
    assert_eq!(steps(&from_to(WEB, &WEB.replace("nginx", "caddy"))), ["replace shop/web"]);
    let first = WEB.replace("specs", "lifecycle: {create_before_destroy: true}, specs");
    assert_eq!(steps(&from_to(&first, &first.replace("nginx", "caddy"))), ["replace_create_first shop/web"]);
}

#[test]
fn the_same_amount_in_another_unit_is_no_change() {
    assert!(from_to(WEB, &WEB.replace("512MiB", "524288KiB")).is_empty());
}

#[test]
fn ignored_changes_are_left_alone() {
    let ignoring = WEB.replace("specs", "lifecycle: {ignore_changes: [image, limits]}, specs");
    assert!(from_to(WEB, &ignoring.replace("nginx", "caddy").replace("512", "600")).is_empty());
}

#[test]
fn what_is_no_longer_desired_is_deleted_after_what_used_it() {
    let before = format!("{WEB}\n  - {{type: compute, name: lb, dependencies: [web]}}");
    assert_eq!(steps(&from_to(&before, "  []")), ["delete shop/lb", "delete shop/web"]);
    // What stays and changes lets go of it first.
    let after = "  - {type: compute, name: lb, specs: {cpu: 2}}";
    let plan = from_to(&before, after);
    assert_eq!(steps(&plan), ["update shop/lb", "delete shop/web"]);
    assert_eq!(plan.to_json()["steps"][1]["after"], json!([{"step": 0}]));
}

#[test]
fn counts_grow_and_shrink_at_their_end() {
    let web = |count: u32| format!("  - {{type: compute, name: web, count: {count}}}");
    assert_eq!(steps(&from_to(&web(2), &web(4))), ["create shop/web[2]", "create shop/web[3]"]);
    assert_eq!(steps(&from_to(&web(3), &web(1))), ["delete shop/web[1]", "delete shop/web[2]"]);
}

#[test]
fn a_name_is_taken_only_when_it_is_free() {
    let before = "  - {type: compute, name: web, count: 1}";
    let after = "  - {type: compute, name: web-0}";
    assert_eq!(steps(&from_to(before, after)), ["delete shop/web[0]", "create shop/web-0"]);
}

#[test]
fn another_kind_or_provider_is_a_replacement() {
    let plan = from_to("  - {type: compute, name: a}", "  - {type: storage, name: a}");
    assert_eq!(steps(&plan), ["replace shop/a"]);
    assert!(matches!(plan.steps[0].causes[0], Cause::KindChanged { .. }));
}

#[test]
fn protected_resources_are_neither_deleted_nor_replaced() {
    let protected = WEB.replace("specs", "lifecycle: {protect: true}, specs");
    let recorded = deployed(&desired(&shop(&protected)));
    for after in ["  []".to_owned(), protected.replace("nginx", "caddy")] {
        let error = plan(&desired(&shop(&after)), &recorded, &Observed::default()).unwrap_err();
        assert!(error.to_string().starts_with("`shop/web`: it is protected and would be"), "{error}");
    }
    let update = plan_of(&shop(&protected.replace("512", "600")), &recorded);
    assert_eq!(steps(&update), ["update shop/web"]);
}

#[test]
fn drift_is_found_and_mended() {
    let desired = desired(&shop(WEB));
    let recorded = deployed(&desired);
    let planned = |observation| plan(&desired, &recorded, &seen("web", observation));
    assert_eq!(steps(&planned(Observation::Absent).unwrap()), ["create shop/web"]);
    let same = json!({"image": "nginx", "limits": {"memory_mb": 512}, "running": true});
    assert!(planned(Observation::ours(&same).unwrap()).unwrap().is_empty());
    let stopped = json!({"running": false, "limits": {"memory_mb": 256}});
    let plan = planned(Observation::ours(&stopped).unwrap()).unwrap();
    assert_eq!(steps(&plan), ["update shop/web"]);
    let causes: Vec<String> = plan.steps[0].causes.iter().map(ToString::to_string).collect();
    assert_eq!(
        causes,
        ["limits.memory_mb drifted to 256, wanted 512", "running drifted to false, wanted true"]
    );
    let plan =
        planned(Observation::ours(&json!({"running": true})).unwrap().complete_below("limits")).unwrap();
    assert_eq!(plan.steps[0].causes[0].to_string(), "limits.memory_mb drifted to nothing, wanted 512");
    let more = json!({"labels": {"added": "by others"}, "limits": {"cpu_cores": 8}});
    assert!(planned(Observation::ours(&more).unwrap()).unwrap().is_empty());
    assert!(
        planned(Observation::Unknown("no answer".to_owned())).unwrap_err().to_string().contains("no answer")
    );
}

#[test]
fn what_others_made_is_never_touched() {
    let desired = desired(&shop(WEB));
    let foreign = seen("web", Observation::foreign().unwrap());
    let error = plan(&desired, &Recorded::default(), &foreign).unwrap_err();
    assert!(error.to_string().contains("that this deployment did not make"), "{error}");
    assert!(plan(&super::desired("name: shop"), &deployed(&desired), &foreign).is_err());
}

#[test]
fn what_carries_our_mark_without_a_record_is_taken_over() {
    let observed = seen("web", Observation::ours(&json!({"running": true})).unwrap());
    let plan = plan(&desired(&shop(WEB)), &Recorded::default(), &observed).unwrap();
    assert_eq!(steps(&plan), ["update shop/web"]);
    assert_eq!(plan.steps[0].causes, [Cause::Unrecorded]);
}

#[test]
fn what_uses_something_made_anew_follows_it() {
    let body = "  - {type: compute, name: db, specs: {image: pg}}\n  - {type: compute, name: web, specs: {environment: \
                {DB: '${db.address}'}}}\n  - {type: compute, name: other, dependencies: [db]}";
    let plan = from_to(body, &body.replace("pg", "pg2"));
    assert_eq!(steps(&plan), ["replace shop/db", "replace shop/web"]);
    assert_eq!(plan.steps[1].causes[0].to_string(), "${db.address} may change");
    assert_eq!(plan.kept[0].to_string(), "shop/other");
}

#[test]
fn many_that_wait_for_many_meet_at_a_gate() {
    let body =
        "  - {type: compute, name: a, count: 50}\n  - {type: compute, name: b, count: 50, dependencies: [a]}";
    let plan = plan_of(&shop(body), &Recorded::default());
    assert_eq!(plan.gates.len(), 1);
    assert_eq!(plan.gates[0].label, "shop/a[*]");
    assert_eq!(plan.gates[0].after.len(), 50);
    assert!(plan.steps[50..].iter().all(|step| step.after.len() == 1));
}

#[test]
fn the_order_passes_through_what_is_kept() {
    let body = |cpu: &str| {
        format!(
            "  - {{type: compute, name: a, specs: {{cpu: {cpu}}}}}\n  - {{type: compute, name: b, dependencies: [a]}}\n  - \
             {{type: compute, name: c, specs: {{cpu: {cpu}}}, dependencies: [b]}}"
        )
    };
    let plan = from_to(&body("1"), &body("2"));
    assert_eq!(steps(&plan), ["update shop/a", "update shop/c"]);
    assert_eq!(plan.to_json()["steps"][1]["after"], json!([{"step": 0}]));
}

#[test]
fn a_plan_is_shown_as_text_json_dot_and_mermaid() {
    let body = format!("{WEB}\n  - {{type: storage, name: data, dependencies: [web]}}");
    let plan = plan_of(&shop(&body), &Recorded::default());
    assert_eq!(
        plan.to_string(),
        "2 to create, 0 to update, 0 to replace, 0 to delete, 0 unchanged.\n  + shop/web  compute on fake\n      new\n  + \
         shop/data  storage on fake\n      new\n"
    );
    let json = plan.to_json();
    assert_eq!(json["summary"]["create"], 2);
    assert_eq!(json["steps"][1]["resource"], "shop/data");
    assert_eq!(json["steps"][1]["causes"], json!([{"cause": "new"}]));
    assert!(
        plan.to_dot().contains("s0 [label=\"create shop/web\" color=\"darkgreen\"];")
            && plan.to_dot().contains("s0 -> s1;")
    );
    assert!(plan.to_mermaid().starts_with("flowchart LR\n  s0[\"create shop/web\"]\n"));
    assert!(plan.to_mermaid().contains("  s0 --> s1\n"));
    assert_eq!(plan.steps[0].action, StepAction::Create);
}

#[test]
fn a_record_reads_back_from_json() {
    let recorded = deployed(&desired(&shop(WEB)));
    let text = serde_json::to_string(&recorded).unwrap();
    let read: Recorded = serde_json::from_str(&text).unwrap();
    assert_eq!(read, recorded);
    assert!(plan_of(&shop(WEB), &read).is_empty());
}

#[test]
fn a_record_of_an_unknown_rule_is_refused() {
    let recorded = deployed(&desired(&shop(WEB)));
    let text = serde_json::to_string(&recorded).unwrap().replace("\"version\":1", "\"version\":9");
    let recorded: Recorded = serde_json::from_str(&text).unwrap();
    let error = plan(&desired(&shop(WEB)), &recorded, &Observed::default()).unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
}
