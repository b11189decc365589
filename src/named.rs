//! A few values by name, in the order of names.

use std::fmt;

/// A few values by name, in the order of names. A map of a handful of values: with thousands of
/// tenants, the nodes of a tree, which have room for eleven, would be most of what is held.
#[derive(Clone, PartialEq, Eq)]
pub struct ByName<T>(Vec<(String, T)>);

impl<T> ByName<T> {
    /// Returns the value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&T> {
        let place = self.place(name).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }

    /// Returns the value of a name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        let place = self.place(name).ok()?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    /// True if the name has a value.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Puts a value in, in the place of the value with the same name.
    pub fn insert(&mut self, name: String, value: T) {
        match self.place(&name) {
            Ok(place) => {
                if let Some((_, old)) = self.0.get_mut(place) {
                    *old = value;
                }
            }
            Err(place) => {
                self.0.reserve_exact(1);
                self.0.insert(place, (name, value));
            }
        }
    }

    /// Takes the value of a name out.
    pub fn remove(&mut self, name: &str) -> Option<T> {
        let place = self.place(name).ok()?;
        Some(self.0.remove(place).1)
    }

    /// Returns the names with their values.
    pub fn iter(&self) -> Iter<'_, T> {
        self.into_iter()
    }

    /// Returns the names.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }

    /// Returns the values.
    pub fn values(&self) -> impl Iterator<Item = &T> + Clone {
        self.0.iter().map(|(_, value)| value)
    }

    /// Returns the number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the place of a name, or the place where it would stand.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0
            .binary_search_by(|(known, _)| known.as_str().cmp(name))
    }
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: fmt::Debug> fmt::Debug for ByName<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<T> Extend<(String, T)> for ByName<T> {
    fn extend<I: IntoIterator<Item = (String, T)>>(&mut self, values: I) {
        for (name, value) in values {
            self.insert(name, value);
        }
    }
}

impl<T> FromIterator<(String, T)> for ByName<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(values: I) -> Self {
        let mut all = Self::default();
        all.extend(values);
        all
    }
}

impl<'n, T> IntoIterator for &'n ByName<T> {
    type Item = (&'n String, &'n T);
    type IntoIter = Iter<'n, T>;

    fn into_iter(self) -> Iter<'n, T> {
        let apart: fn(&'n (String, T)) -> (&'n String, &'n T) = |(name, value)| (name, value);
        self.0.iter().map(apart)
    }
}

/// The names with their values.
pub type Iter<'n, T> =
    std::iter::Map<std::slice::Iter<'n, (String, T)>, fn(&'n (String, T)) -> (&'n String, &'n T)>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_by_name_are_those_of_a_map(steps in prop::collection::vec(("[a-d]{1,2}", any::<Option<u8>>()), 0..20)) {
            let mut map = std::collections::BTreeMap::new();
            let mut by_name = ByName::default();
            for (name, value) in steps {
                match value {
                    Some(value) => {
                        map.insert(name.clone(), value);
                        by_name.insert(name.clone(), value);
                    }
                    None => prop_assert_eq!(map.remove(&name), by_name.remove(&name)),
                }
                prop_assert_eq!(map.get(&name), by_name.get(&name));
                prop_assert!(map.iter().eq(by_name.iter()));
            }
        }
    }
}
