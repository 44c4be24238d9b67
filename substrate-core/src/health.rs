//! How a substrate is.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Everything works.
    Healthy,
    /// It works, with something amiss.
    Degraded,
    /// It answers and does not work.
    Unhealthy,
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        })
    }
}

/// What `health_check` returns. A substrate that cannot be reached is an error, not a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// The verdict.
    pub status: HealthStatus,
    /// The server's version.
    pub version: Option<String>,
    /// How long the check's answer took.
    pub latency: Duration,
    /// What there is and what is used.
    pub capacity: Capacity,
    /// What is amiss, for a person.
    pub issues: Vec<String>,
    /// What only this technology tells about its server, as JSON.
    #[serde(default)]
    pub properties: serde_json::Map<String, serde_json::Value>,
}

impl HealthReport {
    /// A healthy report.
    #[must_use]
    pub fn healthy(latency: Duration) -> Self {
        Self {
            status: HealthStatus::Healthy,
            version: None,
            latency,
            capacity: Capacity::default(),
            issues: Vec::new(),
            properties: serde_json::Map::new(),
        }
    }

    /// Sets the server's version.
    #[must_use]
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Adds what only this technology tells.
    #[must_use]
    pub fn with_property(mut self, key: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.properties.insert(key.into(), value.into());
        self
    }

    /// Adds something amiss; the verdict becomes at least as bad as `status`.
    #[must_use]
    pub fn with_issue(mut self, status: HealthStatus, issue: impl Into<String>) -> Self {
        self.status = self.status.max(status);
        self.issues.push(issue.into());
        self
    }
}

/// What a substrate has in all, and what is in use. `None` = not measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capacity {
    /// Processor cores.
    pub cpu_cores: Option<f64>,
    /// Memory in MiB.
    pub memory_mb: Option<u64>,
    /// Memory in use, in MiB.
    pub memory_used_mb: Option<u64>,
    /// Disk in GiB.
    pub disk_gb: Option<f64>,
    /// Disk in use, in GiB.
    pub disk_used_gb: Option<f64>,
    /// Instances in all.
    pub instances: Option<u64>,
    /// Instances that run.
    pub instances_running: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issue_can_only_make_the_verdict_worse() {
        let report = HealthReport::healthy(Duration::ZERO)
            .with_issue(HealthStatus::Unhealthy, "no quorum")
            .with_issue(HealthStatus::Degraded, "disk nearly full");
        assert_eq!(report.status, HealthStatus::Unhealthy);
        assert_eq!(report.issues.len(), 2);
    }
}
