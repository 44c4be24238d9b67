//! Tickets, CSRF tokens and API tokens.

use serde_json::{Value, json};

use crate::Shared;
use crate::params::{Params, decode_segment};
use crate::reply::{Answer, Refusal};

/// How long a ticket lives.
const TICKET: f64 = 7_200.0;

/// Who is asking.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) user: String,
    /// The user, or the token of one.
    pub(crate) authid: String,
    pub(crate) by_token: bool,
    /// The API host that was asked.
    pub(crate) host: usize,
}

impl Caller {
    pub(crate) fn nobody() -> Self {
        Self { user: String::new(), authid: String::new(), by_token: false, host: 0 }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.user == "root@pam" && !self.by_token
    }
}

impl Shared {
    pub(crate) fn caller(&self, method: &str, headers: &[(String, String)]) -> Result<Caller, Refusal> {
        let header = |name: &str| {
            headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        let failed = || Refusal::empty(401, "Authentication failed!");
        if let Some(token) = header("authorization").and_then(|value| value.strip_prefix("PVEAPIToken")) {
            let (id, secret) = token[1.min(token.len())..].split_once('=').ok_or_else(failed)?;
            return if self.world().tokens.get(id).is_some_and(|known| known == secret) {
                let user = id.split('!').next().unwrap_or_default().to_owned();
                Ok(Caller { user, authid: id.to_owned(), by_token: true, host: 0 })
            } else {
                Err(failed())
            };
        }
        let in_cookie = header("cookie").and_then(|cookie| {
            cookie.split("; ").find_map(|part| part.strip_prefix("PVEAuthCookie=").map(decode_segment))
        });
        let in_header =
            header("authorization").and_then(|value| value.strip_prefix("PVEAuthCookie=").map(str::to_owned));
        let Some(ticket) = in_cookie.or(in_header) else { return Err(Refusal::empty(401, "No ticket")) };
        let world = self.world();
        let user = match world.tickets.get(&ticket) {
            Some((user, issued)) if self.clock.now() - issued < TICKET => user.clone(),
            _ => return Err(failed()),
        };
        let csrf = header("csrfpreventiontoken");
        if method != "GET" && !csrf.is_some_and(|token| world.csrf.contains(token)) {
            return Err(Refusal::empty(401, "Permission denied - invalid csrf token"));
        }
        Ok(Caller { authid: user.clone(), user, by_token: false, host: 0 })
    }

    pub(crate) fn login(&self, params: &Params) -> Answer {
        let username = params
            .text("username")
            .ok_or_else(|| Refusal::parameter("username", "property is missing and it is not optional"))?;
        let password = params
            .text("password")
            .ok_or_else(|| Refusal::parameter("password", "property is missing and it is not optional"))?;
        let user = match params.text("realm") {
            Some(realm) if !username.contains('@') => format!("{username}@{realm}"),
            _ => username,
        };
        let now = self.clock.now();
        let mut world = self.world();
        let renewed = world
            .tickets
            .get(&password)
            .is_some_and(|(owner, issued)| *owner == user && now - issued < TICKET);
        let known = world.users.get(&user).cloned();
        let right = known.as_ref().is_some_and(|known| known.password == password);
        if !right && !renewed {
            return Err(Refusal::new(401, "authentication failure"));
        }
        if known.is_some_and(|known| known.second_factor) && !renewed {
            return Ok(json!({
                "username": user, "NeedTFA": 1,
                "ticket": format!("PVE:!tfa!%7B%22totp%22%3Atrue%7D:{:08X}::challenge", now as u64),
                "CSRFPreventionToken": "challenge",
            }));
        }
        let number = world.counter();
        let ticket = format!("PVE:{user}:{:08X}::c2ln/bmF0+dXJl{number}==", now as u64);
        let csrf = format!("{:08X}:csrf/{number}+", now as u64);
        world.tickets.insert(ticket.clone(), (user.clone(), now));
        world.csrf.insert(csrf.clone());
        Ok(json!({
            "ticket": ticket, "CSRFPreventionToken": csrf, "username": user,
            "cap": {"vms": {}, "dc": {}, "nodes": {}, "storage": {}, "access": {}, "sdn": {}, "mapping": {}},
        }))
    }

    pub(crate) fn access(&self, rest: &[&str], method: &str, params: &Params) -> Answer {
        match (method, rest) {
            ("GET", ["domains"]) => Ok(json!([
                {"comment": "Proxmox VE authentication server", "type": "pve", "realm": "pve"},
                {"comment": "Linux PAM standard authentication", "type": "pam", "realm": "pam"},
            ])),
            ("POST", ["users"]) => {
                let user = params.text("userid").unwrap_or_default();
                let mut world = self.world();
                if world.users.contains_key(&user) {
                    return Err(Refusal::new(
                        500,
                        format!("create user failed: user '{user}' already exists"),
                    ));
                }
                let password = params.text("password").unwrap_or_default();
                world.users.insert(user, crate::world::User { password, second_factor: false });
                Ok(Value::Null)
            }
            ("POST", ["users", user, "token", name]) => {
                let id = format!("{user}!{name}");
                let mut world = self.world();
                if world.tokens.contains_key(&id) {
                    return Err(Refusal::parameter("tokenid", "Token already exists."));
                }
                let secret = world.uuid();
                world.tokens.insert(id.clone(), secret.clone());
                let privsep = params.text("privsep").map_or(json!(1), Value::from);
                Ok(json!({"full-tokenid": id, "value": secret, "info": {"privsep": privsep}}))
            }
            ("DELETE", ["users", user, "token", name]) => {
                match self.world().tokens.remove(&format!("{user}!{name}")) {
                    Some(_) => Ok(Value::Null),
                    None => Err(Refusal::new(500, format!("no such token '{name}' for user '{user}'"))),
                }
            }
            _ => Err(crate::no_method(method, &format!("/access/{}", rest.join("/")))),
        }
    }
}
