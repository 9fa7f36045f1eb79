//! Maps: objects whose keys are data, compared key by key.
//!
//! A key that the map lacks is removed from the document: all of the object is the map's.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use super::{DeltaState, Patch, Unfit};
use crate::Json;

/// A key of a map, as a key of a JSON object.
pub trait MapKey: Sized {
    /// The object's key.
    fn to_key(&self) -> Cow<'_, str>;

    /// Reads the object's key; none when it is not one of these.
    fn from_key(key: &str) -> Option<Self>;
}

impl MapKey for String {
    fn to_key(&self) -> Cow<'_, str> {
        Cow::Borrowed(self)
    }

    fn from_key(key: &str) -> Option<Self> {
        Some(key.to_owned())
    }
}

macro_rules! number_keys {
    ($($type:ty),*) => {$(
        impl MapKey for $type {
            fn to_key(&self) -> Cow<'_, str> {
                Cow::Owned(self.to_string())
            }

            fn from_key(key: &str) -> Option<Self> {
                key.parse().ok()
            }
        }
    )*};
}

number_keys!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, char, bool);

type Object = serde_json::Map<String, Json>;

fn load<K: MapKey, V: DeltaState, C: FromIterator<(K, V)>>(value: &Json) -> Result<C, Unfit> {
    let object = value.as_object().ok_or_else(|| Unfit::kind("an object", value))?;
    let load = |(key, value): (&String, &Json)| {
        let typed = K::from_key(key).ok_or_else(|| Unfit::new("the key is of another type").within(key))?;
        Ok((typed, V::load(value).map_err(|unfit| unfit.within(key))?))
    };
    object.iter().map(load).collect()
}

fn save<'a, K: MapKey + 'a, V: DeltaState + 'a>(entries: impl Iterator<Item = (&'a K, &'a V)>) -> Result<Json, Unfit> {
    let save = |(key, value): (&K, &V)| {
        let key = key.to_key().into_owned();
        let value = value.save().map_err(|unfit| unfit.within(&key))?;
        Ok((key, value))
    };
    entries.map(save).collect::<Result<_, _>>().map(Json::Object)
}

fn same<'a, K: MapKey + 'a, V: DeltaState + 'a>(
    mut entries: impl ExactSizeIterator<Item = (&'a K, &'a V)>,
    known: &Json,
) -> bool {
    known.as_object().is_some_and(|object| {
        object.len() == entries.len()
            && entries.all(|(key, value)| object.get(&*key.to_key()).is_some_and(|known| value.same(known)))
    })
}

/// Records the entries over an object. In the order of the keys: a hash map's own order would
/// make the same turn write another patch each time.
pub(super) fn record_entries<'a, K: MapKey + 'a, V: DeltaState + 'a>(
    entries: impl Iterator<Item = (&'a K, &'a V)>,
    known: &mut Object,
    patch: &mut Patch,
) -> Result<(), Unfit> {
    let entries: BTreeMap<Cow<'_, str>, &V> = entries.map(|(key, value)| (key.to_key(), value)).collect();
    known.retain(|key, _| {
        let stays = entries.contains_key(key.as_str());
        if !stays {
            patch.at(key, Patch::remove);
        }
        stays
    });
    entries.iter().try_for_each(|(key, value)| super::structured::record_field(key, *value, known, patch))
}

macro_rules! maps {
    ($($type:ident where $($bound:path),+;)*) => {$(
        impl<K: MapKey $(+ $bound)+, V: DeltaState> DeltaState for $type<K, V> {
            fn load(value: &Json) -> Result<Self, Unfit> {
                load(value)
            }

            fn save(&self) -> Result<Json, Unfit> {
                save(self.iter())
            }

            fn same(&self, known: &Json) -> bool {
                same(self.iter(), known)
            }

            fn record(&self, known: &mut Json, patch: &mut Patch) -> Result<(), Unfit> {
                match known {
                    Json::Object(known) => record_entries(self.iter(), known, patch),
                    _ => super::replace(self, known, patch),
                }
            }
        }
    )*};
}

maps! {
    BTreeMap where Ord;
    HashMap where Eq, Hash;
}
