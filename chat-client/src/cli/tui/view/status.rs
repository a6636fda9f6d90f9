//! How the cluster is, and passing words.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line as Row;

use super::wrap;
use crate::cli::text::harmless;
use crate::cli::tui::model::{Link, Model};

pub(super) fn draw(model: &Model, area: Rect, frame: &mut Frame<'_>) {
    let width = usize::from(area.width);
    let me = model.me.as_ref().map(|me| harmless(&me.name).into_owned());
    let right = format!(
        " {} | F1 help ",
        me.unwrap_or_else(|| "not logged in".into())
    );
    let left = format!(" {}", left(model, width));
    // The name makes way for what is going on.
    let room = width.saturating_sub(wrap::width(&right));
    let text = match wrap::width(&left) <= room {
        true => format!("{}{right}", wrap::pad(&left, room)),
        false => wrap::pad(&left, width),
    };
    let style = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Row::styled(wrap::steady(&text), style), area);
}

fn left(model: &Model, width: usize) -> String {
    let waiting = model.waiting();
    let waiting = (waiting > 0 && model.cluster.link != Link::Connected)
        .then(|| format!("{waiting} waiting to be sent"));
    let notice = model.notice.as_ref().map(|(notice, _)| notice.clone());
    let full = cluster(model, width);
    // A passing word makes way for nothing but the essence, and not for that where it fills the row.
    for cluster in [Some(full), essence(model), None] {
        let parts = [cluster, waiting.clone(), notice.clone()];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let text = parts.join(" | ");
        if notice.is_none() || wrap::width(&text) < width {
            return text;
        }
    }
    notice.unwrap_or_default()
}

/// How many replicas there are.
fn essence(model: &Model) -> Option<String> {
    let (live, of) = model.cluster.live?;
    let is_known = model.cluster.link == Link::Connected;
    is_known.then(|| format!("{live}/{of} live{}", degraded(model)))
}

fn degraded(model: &Model) -> &'static str {
    match model.cluster.is_degraded() {
        true => " | degraded",
        false => "",
    }
}

fn cluster(model: &Model, width: usize) -> String {
    let cluster = &model.cluster;
    let number = |n: Option<u64>| n.map_or("-".into(), |n| n.to_string());
    let node = number(cluster.node.map(u64::from));
    let leader = number(cluster.leader.map(u64::from));
    let epoch = number(cluster.epoch);
    match (cluster.link, cluster.live) {
        (Link::Connecting, _) if model.me.is_some() => "connecting ...".into(),
        (Link::Connecting, _) => "chat".into(),
        (Link::Waiting, _) => "no replica can serve; trying on".into(),
        (Link::Connected, None) => format!("node {node} | leader {leader} | epoch {epoch}"),
        (Link::Connected, Some((live, of))) => {
            let degraded = degraded(model);
            let all = format!(
                "node {node} | leader {leader} | epoch {epoch} | {live} of {of} live{degraded}"
            );
            match wrap::width(&all) < width {
                true => all,
                // How many there are matters most.
                false => format!("{live}/{of} live{degraded} | node {node}, leader {leader}"),
            }
        }
    }
}
