//! Who we are: an API token, or a ticket that is renewed before it ends.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use substrate_core::{Error, Outcome, Result};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::form::{Form, encode};
use crate::config::Credentials;

/// A ticket lives two hours. It is renewed at half of that, with itself as the password, so that a clock that
/// runs a little wrong or a host that is away for a while does no harm.
const RENEW_AFTER: Duration = Duration::from_secs(60 * 60);
/// When it is no longer worth a try to renew it.
const DEAD_AFTER: Duration = Duration::from_secs(115 * 60);

const CSRF: HeaderName = HeaderName::from_static("csrfpreventiontoken");

struct Ticket {
    text: SecretString,
    csrf: SecretString,
    obtained: Instant,
}

/// What is needed to sign requests.
pub(crate) struct Session {
    credentials: Credentials,
    ticket: Mutex<Option<Ticket>>,
}

/// What has to be done before a request can be signed.
pub(crate) enum Step {
    /// These headers do it.
    Signed(HeaderMap),
    /// A ticket must be fetched with this form first.
    LogIn(Form),
}

#[derive(Deserialize)]
struct Granted {
    ticket: Option<String>,
    #[serde(rename = "CSRFPreventionToken")]
    csrf: Option<String>,
    #[serde(rename = "NeedTFA", default)]
    second_factor: Option<Value>,
}

fn header(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Error::invalid_input("the credentials hold characters that no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Session {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials, ticket: Mutex::new(None) }
    }

    /// Held while a ticket is fetched: callers that wait for it use the one that comes.
    pub(crate) async fn lock(&self) -> Signer<'_> {
        Signer { credentials: &self.credentials, ticket: self.ticket.lock().await }
    }

    /// Whether a refused request can be tried with a new ticket.
    pub(crate) fn can_log_in(&self) -> bool {
        matches!(self.credentials, Credentials::Password { .. })
    }
}

/// The right to sign, and to replace the ticket.
pub(crate) struct Signer<'a> {
    credentials: &'a Credentials,
    ticket: tokio::sync::MutexGuard<'a, Option<Ticket>>,
}

impl Signer<'_> {
    pub(crate) fn step(&self, with_password: bool) -> Result<Step> {
        match self.credentials {
            Credentials::Missing => {
                Err(Error::unauthenticated("the credentials for Proxmox VE are not complete")
                    .with_outcome(Outcome::NotSent)
                    .with_hint("set `token_id` and `token_secret`, or `username` and `password`"))
            }
            Credentials::Token { id, secret } => {
                let mut headers = HeaderMap::new();
                headers
                    .insert(AUTHORIZATION, header(&format!("PVEAPIToken={id}={}", secret.expose_secret()))?);
                Ok(Step::Signed(headers))
            }
            Credentials::Password { username, password } => {
                let age = self.ticket.as_ref().map(|ticket| ticket.obtained.elapsed());
                match (&*self.ticket, age) {
                    (Some(ticket), Some(age)) if age < RENEW_AFTER => Ok(Step::Signed(signed(ticket)?)),
                    (Some(ticket), Some(age)) if age < DEAD_AFTER && !with_password => {
                        Ok(Step::LogIn(login(username, &ticket.text)))
                    }
                    _ => Ok(Step::LogIn(login(username, password))),
                }
            }
        }
    }

    /// Keeps the ticket that the server granted.
    pub(crate) fn granted(&mut self, answer: Value) -> Result<()> {
        let granted: Granted = serde_json::from_value(answer)
            .map_err(|error| Error::protocol(format!("the answer to the login is odd: {error}")))?;
        let asks_again = granted.second_factor.is_some_and(|value| value != 0 && value != "0");
        let text = granted.ticket.unwrap_or_default();
        if asks_again || text.starts_with("PVE:!tfa!") {
            return Err(Error::unauthenticated(
                "the user needs a second factor to log in, which nobody can type here",
            )
            .with_outcome(Outcome::NotSent)
            .with_hint("use an API token: set `token_id` and `token_secret`"));
        }
        if text.is_empty() {
            return Err(Error::protocol("the answer to the login holds no ticket"));
        }
        let csrf = granted.csrf.unwrap_or_default().into();
        *self.ticket = Some(Ticket { text: text.into(), csrf, obtained: Instant::now() });
        Ok(())
    }

    /// Forgets the ticket with which a request was refused, unless it was replaced meanwhile.
    pub(crate) fn refused(&mut self, used: &HeaderMap) {
        let same = |ticket: &Ticket| signed(ticket).is_ok_and(|headers| headers == *used);
        if self.ticket.as_ref().is_some_and(same) {
            *self.ticket = None;
        }
    }

    /// Whether there is a ticket that could be renewed, as far as its age says.
    pub(crate) fn holds_a_ticket(&self) -> bool {
        self.ticket.is_some()
    }
}

fn login(username: &str, password: &SecretString) -> Form {
    Form::new().with("username", username.to_owned()).with("password", password.expose_secret())
}

fn signed(ticket: &Ticket) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, header(&format!("PVEAuthCookie={}", encode(ticket.text.expose_secret())))?);
    headers.insert(CSRF, header(ticket.csrf.expose_secret())?);
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn session() -> Session {
        Session::new(Credentials::Password { username: "root@pam".to_owned(), password: "first".into() })
    }

    fn password_of(step: &Step) -> Option<bool> {
        match step {
            Step::Signed(_) => None,
            Step::LogIn(form) => Some(form.encoded().contains("password=first")),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_renewed_with_itself_before_it_ends_and_with_the_password_after() {
        let session = session();
        let mut signer = session.lock().await;
        assert_eq!(password_of(&signer.step(false).unwrap()), Some(true));
        signer.granted(json!({"ticket": "PVE:root@pam:1::x", "CSRFPreventionToken": "c"})).unwrap();
        assert_eq!(password_of(&signer.step(false).unwrap()), None);
        tokio::time::advance(Duration::from_secs(61 * 60)).await;
        assert_eq!(password_of(&signer.step(false).unwrap()), Some(false), "with the old ticket");
        assert_eq!(password_of(&signer.step(true).unwrap()), Some(true));
        tokio::time::advance(Duration::from_secs(60 * 60)).await;
        assert_eq!(password_of(&signer.step(false).unwrap()), Some(true), "it has ended");
    }

    #[tokio::test]
    async fn a_second_factor_is_said_clearly() {
        let session = session();
        let mut signer = session.lock().await;
        let challenge = json!({"ticket": "PVE:!tfa!%7B%7D", "NeedTFA": 1, "CSRFPreventionToken": "c"});
        let error = signer.granted(challenge).unwrap_err();
        assert!(error.is_unauthenticated() && error.to_string().contains("second factor"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("API token")));
    }

    #[tokio::test]
    async fn only_the_ticket_that_was_refused_is_forgotten() {
        let session = session();
        let mut signer = session.lock().await;
        signer.granted(json!({"ticket": "one", "CSRFPreventionToken": "c"})).unwrap();
        let Step::Signed(old) = signer.step(false).unwrap() else { panic!("not signed") };
        signer.granted(json!({"ticket": "two", "CSRFPreventionToken": "c"})).unwrap();
        signer.refused(&old);
        assert!(signer.holds_a_ticket());
    }
}
