//! What the system tells of the machine and of processes: CPU time, memory, and what the disk was asked for.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};

/// Everything at one moment. All times are in seconds since some beginning.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// CPU time of the servers, all of them together.
    pub(crate) servers_cpu: f64,
    /// Their resident memory, in KiB.
    pub(crate) servers_rss: u64,
    /// CPU time of this program.
    pub(crate) own_cpu: f64,
    /// CPU time of the whole machine that was used.
    pub(crate) busy: f64,
    /// CPU time in which there was nothing to do but wait for a disk.
    pub(crate) iowait: f64,
    /// All CPU time that there was.
    pub(crate) total: f64,
    /// Cache flushes of the disk.
    pub(crate) flushes: u64,
    /// Writes to it.
    pub(crate) writes: u64,
    /// Bytes written to it.
    pub(crate) written: u64,
}

impl Reading {
    /// Reads everything. Processes that are gone count as nothing, and so does a disk that the system does not know.
    pub(crate) fn take(servers: &[u32], disk: &str) -> Reading {
        let mut reading = Reading {
            own_cpu: process_cpu("self"),
            ..Reading::default()
        };
        for server in servers {
            reading.servers_cpu += process_cpu(&server.to_string());
            reading.servers_rss += resident(*server);
        }
        reading.add_machine(&fs::read_to_string("/proc/stat").unwrap_or_default());
        reading.add_disk(
            &fs::read_to_string("/proc/diskstats").unwrap_or_default(),
            disk,
        );
        reading
    }

    fn add_machine(&mut self, stat: &str) {
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = line
            .split_whitespace()
            .skip(1)
            .filter_map(|number| number.parse().ok())
            .collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; those of guests are contained in user.
        if let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks[..] {
            let used = user + nice + system + irq + softirq + steal;
            self.busy = used / ticks_per_second();
            self.iowait = iowait / ticks_per_second();
            self.total = (used + idle + iowait) / ticks_per_second();
        }
    }

    fn add_disk(&mut self, diskstats: &str, disk: &str) {
        let fields = diskstats
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|fields| fields.get(2) == Some(&disk));
        let number = |at: usize| {
            let fields = fields.as_ref();
            fields
                .and_then(|fields| fields.get(at)?.parse::<u64>().ok())
                .unwrap_or(0)
        };
        self.writes = number(7);
        // Sectors, which are of 512 bytes here whatever the disk has.
        self.written = number(9) * 512;
        self.flushes = number(18);
    }
}

/// Load average of the last minute.
pub(crate) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next();
    first
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn process_cpu(process: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The program's name may hold spaces: fields are counted from its closing bracket.
    let fields: Vec<&str> = match stat.rsplit_once(')') {
        Some((_, rest)) => rest.split_whitespace().collect(),
        None => Vec::new(),
    };
    let ticks = |at: usize| -> f64 {
        let field = fields.get(at).and_then(|field| field.parse().ok());
        field.unwrap_or_default()
    };
    (ticks(11) + ticks(12)) / ticks_per_second()
}

fn ticks_per_second() -> f64 {
    sysconf(SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .map_or(100.0, |ticks| ticks as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_found_among_others() {
        let mut reading = Reading::default();
        let text = "   7       0 loop0 1 0 2 0 3 0 4 0 0 0 0 0 0 0 0 5 0\n \
                    254       0 vda 10 1 20 2 30 3 40 4 0 5 6 7 8 9 11 12 13\n";
        reading.add_disk(text, "vda");
        assert_eq!(
            (reading.writes, reading.written, reading.flushes),
            (30, 40 * 512, 12)
        );
        reading.add_disk(text, "sda");
        assert_eq!(reading.flushes, 0);
    }

    #[test]
    fn this_process_has_used_some_time_and_memory() {
        let reading = Reading::take(&[std::process::id()], "none");
        assert!(reading.total > reading.busy && reading.busy > 0.0);
        assert!(reading.servers_rss > 0);
    }
}
