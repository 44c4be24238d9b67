//! What the lab changes in the source of Kubernetes: a few constants of the node's agent, and one ability that servers of
//! today have. No object of the API shows a difference.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

struct Change {
    file: &'static str,
    from: &'static str,
    to: &'static str,
    /// How often it is in the file: another number means that the source is another one.
    times: usize,
}

/// Nobody may go below an out-of-memory score of 0 without `CAP_SYS_RESOURCE`, which sandboxes and some machines of
/// continuous integration lack: every pod would end with "can't get final child's PID from pipe".
const SCORES: &[Change] = &[
    Change {
        file: "pkg/kubelet/qos/policy.go",
        from: "KubeletOOMScoreAdj int = -999",
        to: "KubeletOOMScoreAdj int = 0",
        times: 1,
    },
    Change {
        file: "pkg/kubelet/qos/policy.go",
        from: "KubeProxyOOMScoreAdj  int = -999",
        to: "KubeProxyOOMScoreAdj  int = 0",
        times: 1,
    },
    Change {
        file: "pkg/kubelet/qos/policy.go",
        from: "return guaranteedOOMScoreAdj",
        to: "return 0",
        times: 2,
    },
    Change {
        file: "pkg/kubelet/dockershim/docker_sandbox.go",
        from: "defaultSandboxOOMAdj int = -998",
        to: "defaultSandboxOOMAdj int = 0",
        times: 1,
    },
    Change {
        file: "pkg/kubelet/dockershim/cm/container_manager_linux.go",
        from: "dockerOOMScoreAdj = -999",
        to: "dockerOOMScoreAdj = 0",
        times: 1,
    },
];

/// A deleted pod leaves the API when the agent next looks, every 10 s, and finds its containers collected, every 60 s, and
/// so on: most of a test's time would be waiting for these clocks.
const CLOCKS: &[Change] = &[
    Change {
        file: "pkg/kubelet/status/status_manager.go",
        from: "const syncPeriod = 10 * time.Second",
        to: "const syncPeriod = 500 * time.Millisecond",
        times: 1,
    },
    Change {
        file: "pkg/kubelet/kubelet.go",
        from: "ContainerGCPeriod = time.Minute",
        to: "ContainerGCPeriod = time.Second",
        times: 1,
    },
    Change {
        file: "pkg/kubelet/kubelet.go",
        from: "housekeepingPeriod = time.Second * 2",
        to: "housekeepingPeriod = time.Millisecond * 500",
        times: 1,
    },
    Change {
        file: "pkg/kubelet/kubelet.go",
        from: "plegRelistPeriod = time.Second * 1",
        to: "plegRelistPeriod = time.Millisecond * 500",
        times: 1,
    },
    Change {
        file: "pkg/kubelet/kuberuntime/kuberuntime_manager.go",
        from: "minimumGracePeriodInSeconds = 2",
        to: "minimumGracePeriodInSeconds = 1",
        times: 1,
    },
];

/// The vendored `reflect2` calls into Go's runtime as it was before 1.18: walking through a map, as for every object with
/// labels that is written as JSON, makes today's runtime write into memory that is somebody else's.
const MAPS: &[Change] = &[
    Change {
        file: "vendor/github.com/modern-go/reflect2/unsafe_link.go",
        from: "func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer) *hiter",
        to: "func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer, it *hiter)",
        times: 1,
    },
    Change {
        file: "vendor/github.com/modern-go/reflect2/unsafe_link.go",
        from: "\t// rest fields are ignored\n",
        // Not looked at, but written to.
        to: "\trest  [16]unsafe.Pointer\n",
        times: 1,
    },
    Change {
        file: "vendor/github.com/modern-go/reflect2/unsafe_map.go",
        from: "\treturn &UnsafeMapIterator{\n\
               \t\thiter:      mapiterinit(type2.rtype, *(*unsafe.Pointer)(obj)),\n",
        to: "\tit := &hiter{}\n\
             \tmapiterinit(type2.rtype, *(*unsafe.Pointer)(obj), it)\n\
             \treturn &UnsafeMapIterator{\n\
             \t\thiter:      it,\n",
        times: 1,
    },
];

/// Since 1.30 a client can end a command's input without ending the connection: the protocol `v5.channel.k8s.io` is
/// `v4` and one more message, 255 and the number of a channel that ends. Without it no test could show that input ends.
const END_OF_INPUT: &[Change] = &[
    Change {
        file: "vendor/k8s.io/apiserver/pkg/util/wsstream/conn.go",
        from: "\t\tdata = data[1:]\n\t\tif int(channel) >= len(conn.channels) {",
        to: "\t\tdata = data[1:]\n\
             \t\tif channel == 255 && conn.selectedProtocol == \"v5.channel.k8s.io\" && len(data) == 1 {\n\
             \t\t\tif int(data[0]) < len(conn.channels) {\n\
             \t\t\t\tconn.channels[data[0]].Close()\n\
             \t\t\t}\n\
             \t\t\tcontinue\n\
             \t\t}\n\
             \t\tif int(channel) >= len(conn.channels) {",
        times: 1,
    },
    Change {
        file: "pkg/kubelet/cri/streaming/remotecommand/websocket.go",
        from: "\t\tv4BinaryWebsocketProtocol: {\n",
        to: "\t\t\"v5.channel.k8s.io\": {\n\
             \t\t\tBinary:   true,\n\
             \t\t\tChannels: channels,\n\
             \t\t},\n\
             \t\tv4BinaryWebsocketProtocol: {\n",
        times: 1,
    },
    Change {
        file: "pkg/kubelet/cri/streaming/remotecommand/websocket.go",
        from: "\tcase v4BinaryWebsocketProtocol, v4Base64WebsocketProtocol:",
        to: "\tcase \"v5.channel.k8s.io\", v4BinaryWebsocketProtocol, v4Base64WebsocketProtocol:",
        times: 1,
    },
];

/// Changes the source.
pub fn apply(source: &Path) -> Result<()> {
    for change in SCORES.iter().chain(CLOCKS).chain(MAPS).chain(END_OF_INPUT) {
        let path = source.join(change.file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let found = text.matches(change.from).count();
        if found != change.times {
            bail!("{} has {:?} {found} times, not {}", change.file, change.from, change.times);
        }
        fs::write(&path, text.replace(change.from, change.to))?;
    }
    Ok(())
}
