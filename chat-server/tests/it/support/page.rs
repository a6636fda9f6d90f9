//! What a replica's listener for metrics shows.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::Cluster;

impl Cluster {
    /// A page of a replica's listener for metrics; `None` while nobody listens.
    pub(crate) fn page(&self, id: usize, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.metrics_address(id)).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: chat\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let status = text.split(' ').nth(1)?.parse().ok()?;
        let (_, body) = text.split_once("\r\n\r\n")?;
        Some((status, body.to_owned()))
    }
}

/// The value of a figure.
pub(crate) fn figure(page: &str, name: &str) -> f64 {
    let line = page.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(' '))
    });
    let line = line.unwrap_or_else(|| panic!("there is no {name} in\n{page}"));
    line[name.len()..].trim().parse().unwrap()
}
