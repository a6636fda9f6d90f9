//! What may name what.

/// The layers of chat-server from the top down. Each may name those below it; those in one row name each other never.
pub(crate) const LAYERS: &[&[&str]] = &[
    // The program's commands.
    &["cli"],
    // A replica's life: start, reload, drain, stop.
    &["server"],
    // Who may connect, and how.
    &["edge"],
    // The services of clients and of operators.
    &["grpc", "ops::admin"],
    // The use cases.
    &["app"],
    // Metrics, health, conditions.
    &["ops"],
    // Subscribers and presence.
    &["live"],
    // Where commands go.
    &["engine"],
    // The state on disk.
    &["store"],
    &["config"],
    &["clock"],
];

/// What names a layer above it, still: a file, and what it names.
pub(crate) const UPWARD: &[(&str, &str)] = &[("app/proxy.rs", "edge::tls")];

/// What the sources of a crate, below a module, never name.
pub(crate) struct Never {
    pub(crate) of: &'static str,
    pub(crate) below: &'static str,
    pub(crate) words: &'static [&'static str],
    pub(crate) why: &'static str,
    /// Files that still do.
    pub(crate) except: &'static [&'static str],
}

pub(crate) const NEVER: &[Never] = &[
    Never {
        of: "chat-core",
        below: "",
        words: &[
            "chat_client",
            "chat_replication",
            "chat_server",
            "tokio",
            "tonic",
            "prost",
            "rand",
        ],
        why: "chat-core is pure logic",
        except: &[],
    },
    Never {
        of: "chat-replication",
        below: "",
        words: &["chat_client", "chat_core", "chat_server"],
        why: "the log knows nothing of its commands",
        except: &[],
    },
    Never {
        of: "chat-client",
        below: "",
        words: &["chat_core", "chat_replication", "chat_server"],
        why: "a client depends on the public API alone",
        except: &[],
    },
    Never {
        of: "chat-server",
        below: "edge",
        words: &["chat_core"],
        why: "a listener knows nothing of the chat",
        except: &[],
    },
    Never {
        of: "chat-server",
        below: "app",
        words: &["hyper", "prost"],
        why: "use cases know nothing of the wire",
        except: &[],
    },
    Never {
        of: "chat-server",
        below: "app",
        words: &["tonic"],
        why: "use cases know nothing of the wire",
        // Calls are passed on to the leader's public port.
        except: &[
            "app/barrier.rs",
            "app/error.rs",
            "app/proxy.rs",
            "app/write.rs",
        ],
    },
    Never {
        of: "chat-server",
        below: "live",
        words: &["hyper", "prost", "tonic"],
        why: "soft state knows nothing of the wire",
        except: &[],
    },
    Never {
        of: "chat-server",
        below: "store",
        words: &["hyper", "prost", "tonic"],
        why: "the state on disk knows nothing of the wire",
        except: &[],
    },
];

/// Modules that name each other in a circle, still.
pub(crate) const CIRCLES: &[&str] = &[
    "chat-client: builder, client, net",
    "chat-client: cli::args, cli::output, cli::settings",
    "chat-client: cli::commands, cli::repl",
    "chat-client: cli::tui::view::composer, cli::tui::view::layout",
    "chat-client: net::connection, net::exchange",
    "chat-replication: branch, types",
    "chat-replication: driver, handle",
    "chat-replication: driver::apply_thread, driver::input, driver::running",
    "chat-replication: replica::ballot, replica::candidate, replica::judge, replica::membership, replica::peer, \
     replica::progress, replica::reads, replica::state",
];

/// Names that several modules of a crate have, of one thing that several layers deal with.
pub(crate) const SAME_THING: &[(&str, &[&str])] = &[
    (
        "chat-client",
        &[
            "accounts", "cluster", "commands", "composer", "messages", "overlay", "status",
            "timeline",
        ],
    ),
    (
        "chat-core",
        &["accounts", "message", "name", "sessions", "sweep"],
    ),
    (
        "chat-replication",
        &["clients", "report", "snapshot", "store"],
    ),
    (
        "chat-server",
        &[
            "account", "accounts", "admin", "backup", "cluster", "compact", "config", "error",
            "inspect", "tls", "word",
        ],
    ),
];

/// Names that stand for two things, still.
pub(crate) const TWO_THINGS: &[(&str, &[&str])] = &[
    ("chat-client", &["line"]),
    (
        "chat-replication",
        &["disk", "file", "folder", "queue", "trouble"],
    ),
];
