//! Members come and go, bear two names, or are another cluster's.

use cluster::fence::Held;
use cluster::wire::Stamp;
use cluster::{App, ClusterId, Member, NodeId};

use super::{Link, World};

impl World {
    pub fn remove(&mut self, nth: usize) {
        if let Some(member) = self.members.iter_mut().find(|member| member.id == NodeId(nth as u128 + 1)) {
            member.removed = true;
            self.desire();
        }
    }

    pub fn add_back(&mut self, nth: usize) {
        if nth >= self.agents.len() {
            return;
        }
        let id = NodeId(nth as u128 + 1);
        match self.members.iter_mut().find(|member| member.id == id) {
            Some(member) => member.removed = false,
            None => {
                let url = format!("http://10.0.0.{}:9091", nth + 1).parse().unwrap();
                self.members.push(Member::new(id, url));
                self.links.insert(id, Link { agent: nth, ..Link::default() });
            }
        }
        self.desire();
    }

    /// The labels that an operator gives to a node.
    pub fn label(&mut self, nth: usize, labels: &[(&str, &str)]) {
        if let Some(member) = self.members.iter_mut().find(|member| member.id == NodeId(nth as u128 + 1)) {
            member.labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            self.desire();
        }
    }

    pub fn take_over(&mut self, nth: usize) {
        self.members.iter_mut().find(|member| member.id == NodeId(nth as u128 + 1)).unwrap().take_over = true;
        self.desire();
    }

    /// Another cluster takes an agent over.
    pub fn be_robbed(&mut self, nth: usize) {
        let agent = &mut self.agents[nth];
        agent.held = Held { cluster: Some(ClusterId(999)), stamp: Some(Stamp { epoch: 1, generation: 1 }) };
    }

    pub fn add_alias(&mut self, nth: usize) {
        let id = NodeId(500);
        self.members.push(Member::new(id, "http://alias.example:9091".parse().unwrap()));
        self.links.insert(id, Link { agent: nth, ..Link::default() });
        self.desire();
    }

    pub fn remove_alias(&mut self) {
        self.members.iter_mut().filter(|member| member.id == NodeId(500)).for_each(|member| member.removed = true);
        self.desire();
    }

    pub fn empty_store(&mut self) {
        self.apps = vec![App::builtin()];
        self.members.clear();
        self.epoch = 0;
        self.controller.cluster = ClusterId(self.controller.cluster.0 + 1);
        self.restart_controller();
    }
}
