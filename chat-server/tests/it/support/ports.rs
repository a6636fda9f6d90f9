//! Ports that nobody else uses.

use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that the system gives to outgoing connections.
const FIRST: u16 = 10_000;
const BLOCKS: u16 = 66;
const BLOCK: u16 = 300;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A base port for a cluster: the ports behind it, those a hundred further on, and those two hundred further on, are free.
pub(crate) fn free_base_port() -> u16 {
    for _ in 0..BLOCKS {
        let block = NEXT
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(process::id() as u16)
            % BLOCKS;
        let base = FIRST + block * BLOCK;
        let wanted = (0..5).flat_map(|id| [base + id, base + 100 + id, base + 200 + id]);
        if wanted
            .into_iter()
            .all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        {
            return base;
        }
    }
    panic!("no ports are free");
}
