//! The real `weft`, as processes: what it prints, how it ends, what it leaves behind.

#[cfg(test)]
mod audit;
#[cfg(test)]
mod dev;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod limited;
#[cfg(test)]
mod mesh;
#[cfg(test)]
mod offline;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tasks;
