//! Where a replica listens.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The address of one replica's client port, parsed from `HOST:PORT`, `IPV4:PORT` or `[IPV6]:PORT`.
///
/// `https://` in front asks for an encrypted connection; `http://` changes nothing.
///
/// ```
/// use chat_client::Endpoint;
///
/// let endpoint: Endpoint = "127.0.0.1:7400".parse()?;
/// assert_eq!(endpoint.port(), 7400);
/// assert!("127.0.0.1".parse::<Endpoint>().is_err());
/// # Ok::<(), chat_client::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    scheme: Scheme,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

/// How the bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Scheme {
    Plain,
    Encrypted,
}

/// An address that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The text is not an address.
    #[error("`{input}` is not an address: {problem}; write HOST:PORT, such as 127.0.0.1:7400")]
    Malformed {
        /// What was given.
        input: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The text is an address, but no such host is known.
    #[error("the host of {endpoint} cannot be resolved: {source}")]
    Unresolvable {
        /// The address.
        endpoint: Endpoint,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address was given at all.
    #[error("no address of a replica was given; name at least one as HOST:PORT")]
    Missing,
}

impl Endpoint {
    /// The host: a name or an address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Looks the host up.
    ///
    /// # Errors
    /// [`EndpointError::Unresolvable`] where the resolver knows no address of the host.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, EndpointError> {
        let unresolvable = |source| EndpointError::Unresolvable {
            endpoint: self.clone(),
            source,
        };
        let found: Vec<_> = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(unresolvable)?
            .collect();
        if found.is_empty() {
            return Err(unresolvable(io::Error::other(
                "the resolver found no address",
            )));
        }
        Ok(found)
    }

    /// Whether the connection is to be encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.scheme == Scheme::Encrypted
    }

    /// The same address, over an encrypted connection.
    #[must_use]
    pub fn encrypted(self) -> Endpoint {
        Endpoint {
            scheme: Scheme::Encrypted,
            ..self
        }
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// The address as a URI for the transport.
    pub(crate) fn uri(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Plain => "http",
            Scheme::Encrypted => "https",
        };
        format!("{scheme}://{}", self.authority())
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(input: &str) -> Result<Self, Self::Err> {
        let malformed = |problem| EndpointError::Malformed {
            input: input.to_owned(),
            problem,
        };
        let (scheme, rest) = match input.trim().split_once("://") {
            None => (Scheme::Plain, input.trim()),
            Some(("http", rest)) => (Scheme::Plain, rest),
            Some(("https", rest)) => (Scheme::Encrypted, rest),
            Some(_) => return Err(malformed("the scheme is unknown")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.is_empty() {
            return Err(malformed("it is empty"));
        }
        let (host, port) = rest
            .rsplit_once(':')
            .ok_or_else(|| malformed("the host or the port is missing"))?;
        Ok(Self {
            scheme,
            host: parse_host(host).map_err(malformed)?,
            port: parse_port(port).map_err(malformed)?,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Plain => f.write_str(&self.authority()),
            Scheme::Encrypted => f.write_str(&self.uri()),
        }
    }
}

fn parse_host(host: &str) -> Result<String, &'static str> {
    if let Some(bracketed) = host.strip_prefix('[') {
        let address = bracketed
            .strip_suffix(']')
            .ok_or("the closing bracket is missing")?;
        address
            .parse::<Ipv6Addr>()
            .map_err(|_| "between the brackets stands no IPv6 address")?;
        return Ok(address.to_owned());
    }
    if host.is_empty() {
        return Err("the host is missing");
    }
    if host.contains(':') {
        return Err("an IPv6 address must stand in brackets");
    }
    // What DNS, hosts files and IPv4 use; anything else would be a typing error or worse.
    if !host
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    {
        return Err("the host holds a character that no host name has");
    }
    Ok(host.to_ascii_lowercase())
}

fn parse_port(port: &str) -> Result<u16, &'static str> {
    if port.is_empty() {
        return Err("the port is missing");
    }
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err("the port is not a number");
    }
    match port.parse() {
        Ok(0) | Err(_) => Err("the port is not between 1 and 65535"),
        Ok(port) => Ok(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood_as_people_write_them() {
        for (input, expected) in [
            ("127.0.0.1:7400", "127.0.0.1:7400"),
            (" localhost:1 ", "localhost:1"),
            ("Chat.Example.org:65535", "chat.example.org:65535"),
            ("[::1]:7400", "[::1]:7400"),
            ("http://127.0.0.1:7400/", "127.0.0.1:7400"),
        ] {
            let endpoint: Endpoint = input.parse().expect(input);
            assert_eq!(endpoint.to_string(), expected);
            assert_eq!(endpoint.uri(), format!("http://{expected}"));
            let encrypted = endpoint.encrypted();
            assert_eq!(encrypted.to_string(), format!("https://{expected}"));
            assert_eq!(encrypted.uri().parse::<Endpoint>().ok(), Some(encrypted));
        }
    }

    #[test]
    fn a_malformed_address_says_what_is_wrong() {
        for (input, problem) in [
            ("", "it is empty"),
            ("localhost", "the host or the port is missing"),
            ("7400", "the host or the port is missing"),
            (":7400", "the host is missing"),
            ("localhost:", "the port is missing"),
            ("localhost:chat", "the port is not a number"),
            ("localhost:-1", "the port is not a number"),
            ("localhost:0", "the port is not between 1 and 65535"),
            ("localhost:65536", "the port is not between 1 and 65535"),
            ("::1:7400", "an IPv6 address must stand in brackets"),
            ("[::1:7400", "the closing bracket is missing"),
            ("[chat]:7400", "between the brackets stands no IPv6 address"),
            (
                "user@host:7400",
                "the host holds a character that no host name has",
            ),
            (
                "a b:7400",
                "the host holds a character that no host name has",
            ),
            ("ftp://localhost:7400", "the scheme is unknown"),
        ] {
            match input.parse::<Endpoint>() {
                Err(EndpointError::Malformed { problem: found, .. }) => {
                    assert_eq!(found, problem, "{input:?}");
                }
                other => panic!("{input:?} gave {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn an_unknown_host_is_another_error_than_a_malformed_one() {
        let endpoint: Endpoint = "no-such-host.invalid:7400".parse().expect("well formed");
        let error = endpoint
            .resolve()
            .await
            .expect_err("`.invalid` never resolves");
        assert!(
            matches!(error, EndpointError::Unresolvable { .. }),
            "{error}"
        );
    }
}
