//! A random connected graph of degree 6, from a seed.

/// How many links a node has, where there are enough nodes.
pub const DEGREE: usize = 6;

/// How often a missing link is looked for before a node stays with fewer.
const TRIES_PER_LINK_MAX: usize = 1_000;

/// Random numbers that repeat: `SplitMix64`.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which isn't 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.draw() % end as u64) as usize
    }
}

/// Who is linked to whom.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Each node's neighbours, in ascending order.
    neighbours: Vec<Vec<usize>>,
}

impl Graph {
    /// Three random rings laid over each other, so that it is connected three times over; links that fall together are
    /// replaced by others where there is room.
    ///
    /// # Panics
    ///
    /// With fewer than two nodes.
    #[must_use]
    pub fn random(nodes: usize, seed: u64) -> Self {
        assert!(nodes >= 2, "a network has at least two nodes");
        let mut random = Random::new(seed ^ (nodes as u64).rotate_left(32));
        let mut graph = Self { neighbours: vec![Vec::new(); nodes] };
        for _ in 0..DEGREE / 2 {
            let mut ring: Vec<usize> = (0..nodes).collect();
            for at in (1..nodes).rev() {
                ring.swap(at, random.below(at + 1));
            }
            for at in 0..nodes {
                graph.link(ring[at], ring[(at + 1) % nodes]);
            }
        }
        let wanted = nodes * DEGREE.min(nodes - 1) / 2;
        for _ in 0..TRIES_PER_LINK_MAX * nodes {
            if graph.links().count() >= wanted {
                break;
            }
            let (a, b) = (random.below(nodes), random.below(nodes));
            if graph.degree(a) < DEGREE && graph.degree(b) < DEGREE {
                graph.link(a, b);
            }
        }
        graph.neighbours.iter_mut().for_each(|all| all.sort_unstable());
        graph
    }

    fn link(&mut self, a: usize, b: usize) {
        if a != b && !self.neighbours[a].contains(&b) {
            self.neighbours[a].push(b);
            self.neighbours[b].push(a);
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.neighbours.len()
    }

    /// A node's neighbours.
    #[must_use]
    pub fn neighbours(&self, node: usize) -> &[usize] {
        &self.neighbours[node]
    }

    /// The neighbours that a node dials: those with a smaller number, which listen already.
    pub fn dials(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        self.neighbours[node].iter().copied().filter(move |peer| *peer < node)
    }

    /// How many links a node has.
    #[must_use]
    pub fn degree(&self, node: usize) -> usize {
        self.neighbours[node].len()
    }

    /// Every link once, the smaller number first.
    pub fn links(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.nodes()).flat_map(move |node| self.dials(node).map(move |peer| (peer, node)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(graph: &Graph) -> usize {
        let mut seen = vec![false; graph.nodes()];
        let mut open = vec![0];
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut seen[node], true) {
                open.extend(graph.neighbours(node));
            }
        }
        seen.iter().filter(|seen| **seen).count()
    }

    #[test]
    fn it_is_connected_and_of_degree_six() {
        for nodes in [2, 3, 7, 8, 16, 32, 100] {
            for seed in 0..20 {
                let graph = Graph::random(nodes, seed);
                assert_eq!(reached(&graph), nodes);
                let links = graph.links().count();
                let full = nodes * DEGREE.min(nodes - 1) / 2;
                assert!(links <= full && links + 3 >= full, "{nodes} nodes, seed {seed}: {links} of {full}");
                for node in 0..nodes {
                    assert!(graph.degree(node) <= DEGREE && !graph.neighbours(node).contains(&node));
                }
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_graph_again() {
        let links = |seed| Graph::random(16, seed).links().collect::<Vec<_>>();
        assert_eq!(links(1), links(1));
        assert_ne!(links(1), links(2));
    }
}
