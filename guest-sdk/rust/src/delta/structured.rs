//! What the derive writes is calls of these: one place of an object at a time.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{DeltaState, Patch, Unfit};
use crate::Json;

type Object = serde_json::Map<String, Json>;

/// The fields of an object.
pub fn object(value: &Json) -> Result<&Object, Unfit> {
    value.as_object().ok_or_else(|| Unfit::kind("an object", value))
}

/// Reads a field over its default, where the object has it.
pub fn load_field<T: DeltaState>(name: &str, field: &mut T, object: &Object) -> Result<(), Unfit> {
    if let Some(value) = object.get(name) {
        *field = T::load(value).map_err(|unfit| unfit.within(name))?;
    }
    Ok(())
}

/// Writes a field into a new object.
pub fn save_field<T: DeltaState>(name: &str, field: &T, object: &mut Object) -> Result<(), Unfit> {
    object.insert(name.to_owned(), field.save().map_err(|unfit| unfit.within(name))?);
    Ok(())
}

/// True when the object has the field as it is.
pub fn same_field<T: DeltaState>(name: &str, field: &T, object: &Object) -> bool {
    object.get(name).is_some_and(|known| field.same(known))
}

/// Records a field: an addition where the object lacks it, its changes where it has it.
pub fn record_field<T: DeltaState>(name: &str, field: &T, object: &mut Object, patch: &mut Patch) -> Result<(), Unfit> {
    let recorded = match object.get_mut(name) {
        Some(known) => patch.at(name, |patch| field.record(known, patch)),
        None => field.save().map(|value| {
            patch.at(name, |patch| patch.add(value.clone()));
            object.insert(name.to_owned(), value);
        }),
    };
    recorded.map_err(|unfit| unfit.within(name))
}

/// Reads a value in serde's form.
pub fn load_serde<T: DeserializeOwned>(value: &Json) -> Result<T, Unfit> {
    T::deserialize(value).map_err(|error| Unfit::new(error.to_string()))
}

/// Writes a value in serde's form.
pub fn save_serde<T: Serialize>(value: &T) -> Result<Json, Unfit> {
    serde_json::to_value(value).map_err(|error| Unfit::new(error.to_string()))
}

/// True when the value in serde's form is the known one.
pub fn same_serde<T: Serialize>(value: &T, known: &Json) -> bool {
    save_serde(value).as_ref() == Ok(known)
}

/// Records a value in serde's form as a whole.
pub fn record_serde<T: Serialize>(value: &T, known: &mut Json, patch: &mut Patch) -> Result<(), Unfit> {
    let value = save_serde(value)?;
    if value != *known {
        patch.replace(value.clone());
        *known = value;
    }
    Ok(())
}

/// As [`load_field`], in serde's form.
pub fn load_serde_field<T: DeserializeOwned>(name: &str, field: &mut T, object: &Object) -> Result<(), Unfit> {
    if let Some(value) = object.get(name) {
        *field = load_serde(value).map_err(|unfit| unfit.within(name))?;
    }
    Ok(())
}

/// As [`save_field`], in serde's form.
pub fn save_serde_field<T: Serialize>(name: &str, field: &T, object: &mut Object) -> Result<(), Unfit> {
    object.insert(name.to_owned(), save_serde(field).map_err(|unfit| unfit.within(name))?);
    Ok(())
}

/// As [`same_field`], in serde's form.
pub fn same_serde_field<T: Serialize>(name: &str, field: &T, object: &Object) -> bool {
    object.get(name).is_some_and(|known| same_serde(field, known))
}

/// As [`record_field`], in serde's form.
pub fn record_serde_field<T: Serialize>(
    name: &str,
    field: &T,
    object: &mut Object,
    patch: &mut Patch,
) -> Result<(), Unfit> {
    let value = save_serde(field).map_err(|unfit| unfit.within(name))?;
    record_field(name, &Whole(value), object, patch)
}

/// JSON that is replaced and never edited.
struct Whole(Json);

impl DeltaState for Whole {
    fn load(value: &Json) -> Result<Self, Unfit> {
        Ok(Self(value.clone()))
    }

    fn save(&self) -> Result<Json, Unfit> {
        Ok(self.0.clone())
    }

    fn same(&self, known: &Json) -> bool {
        self.0 == *known
    }
}

macro_rules! tuples {
    ($($length:literal: $($name:ident $index:tt),+;)*) => {$(
        /// A list of fixed length; each place is compared for itself.
        impl<$($name: DeltaState),+> DeltaState for ($($name,)+) {
            fn load(value: &Json) -> Result<Self, Unfit> {
                match value.as_array() {
                    Some(list) if list.len() == $length => Ok(($(
                        $name::load(&list[$index]).map_err(|unfit| unfit.within(stringify!($index)))?,
                    )+)),
                    _ => Err(Unfit::kind(concat!("a list of ", $length, " elements"), value)),
                }
            }

            fn save(&self) -> Result<Json, Unfit> {
                Ok(Json::Array(vec![$(self.$index.save().map_err(|unfit| unfit.within(stringify!($index)))?),+]))
            }

            fn same(&self, known: &Json) -> bool {
                known.as_array().is_some_and(|list| list.len() == $length $(&& self.$index.same(&list[$index]))+)
            }

            fn record(&self, known: &mut Json, patch: &mut Patch) -> Result<(), Unfit> {
                match known.as_array_mut() {
                    Some(list) if list.len() == $length => {
                        $(patch
                            .at_index($index, |patch| self.$index.record(&mut list[$index], patch))
                            .map_err(|unfit| unfit.within(stringify!($index)))?;)+
                        Ok(())
                    }
                    _ => super::replace(self, known, patch),
                }
            }
        }
    )*};
}

tuples! {
    2: A 0, B 1;
    3: A 0, B 1, C 2;
    4: A 0, B 1, C 2, D 3;
}
