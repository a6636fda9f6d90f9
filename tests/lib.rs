//! Tests of server and client together, as processes. The package's programs are the two that users run.
