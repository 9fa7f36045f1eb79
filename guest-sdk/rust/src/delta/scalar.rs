//! Values without parts: a change replaces them.
//!
//! Numbers that JSON lacks (NaN and the infinities) are kept as null and read back as NaN.

use super::{DeltaState, Patch, Unfit};
use crate::Json;

/// Nothing to keep: the document is left as it is.
impl DeltaState for () {
    fn load(_: &Json) -> Result<Self, Unfit> {
        Ok(())
    }

    fn save(&self) -> Result<Json, Unfit> {
        Ok(Json::Null)
    }

    fn same(&self, _: &Json) -> bool {
        true
    }
}

impl DeltaState for bool {
    fn load(value: &Json) -> Result<Self, Unfit> {
        value.as_bool().ok_or_else(|| Unfit::kind("a boolean", value))
    }

    fn save(&self) -> Result<Json, Unfit> {
        Ok(Json::Bool(*self))
    }

    fn same(&self, known: &Json) -> bool {
        known.as_bool() == Some(*self)
    }
}

impl DeltaState for String {
    fn load(value: &Json) -> Result<Self, Unfit> {
        value.as_str().map(str::to_owned).ok_or_else(|| Unfit::kind("a string", value))
    }

    fn save(&self) -> Result<Json, Unfit> {
        Ok(Json::String(self.clone()))
    }

    fn same(&self, known: &Json) -> bool {
        known.as_str() == Some(self)
    }
}

impl DeltaState for char {
    fn load(value: &Json) -> Result<Self, Unfit> {
        let mut characters = value.as_str().unwrap_or_default().chars();
        match (characters.next(), characters.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(Unfit::kind("a string of one character", value)),
        }
    }

    fn save(&self) -> Result<Json, Unfit> {
        Ok(Json::String(self.to_string()))
    }

    fn same(&self, known: &Json) -> bool {
        known.as_str().is_some_and(|text| text.strip_prefix(*self) == Some(""))
    }
}

macro_rules! integers {
    ($($type:ty, $as:ident, $noun:literal;)*) => {$(
        impl DeltaState for $type {
            fn load(value: &Json) -> Result<Self, Unfit> {
                let number = value.$as().ok_or_else(|| Unfit::kind($noun, value))?;
                number.try_into().map_err(|_| Unfit::kind($noun, value))
            }

            fn save(&self) -> Result<Json, Unfit> {
                Ok(Json::from(*self))
            }

            fn same(&self, known: &Json) -> bool {
                known.$as().is_some_and(|number| <$type>::try_from(number) == Ok(*self))
            }
        }
    )*};
}

integers! {
    u8, as_u64, "an integer from 0 to 255";
    u16, as_u64, "an integer from 0 to 65535";
    u32, as_u64, "an integer of 32 bits without sign";
    u64, as_u64, "an integer of 64 bits without sign";
    usize, as_u64, "an integer without sign";
    i8, as_i64, "an integer from -128 to 127";
    i16, as_i64, "an integer of 16 bits";
    i32, as_i64, "an integer of 32 bits";
    i64, as_i64, "an integer of 64 bits";
    isize, as_i64, "an integer";
}

impl DeltaState for f64 {
    fn load(value: &Json) -> Result<Self, Unfit> {
        match value {
            Json::Null => Ok(f64::NAN),
            other => other.as_f64().ok_or_else(|| Unfit::kind("a number", value)),
        }
    }

    fn save(&self) -> Result<Json, Unfit> {
        Ok(Json::from(*self))
    }

    fn same(&self, known: &Json) -> bool {
        if self.is_finite() { known.as_f64() == Some(*self) } else { known.is_null() }
    }
}

impl DeltaState for f32 {
    fn load(value: &Json) -> Result<Self, Unfit> {
        #[expect(clippy::cast_possible_truncation, reason = "a document may hold more digits than the type")]
        f64::load(value).map(|number| number as f32)
    }

    fn save(&self) -> Result<Json, Unfit> {
        f64::from(*self).save()
    }

    fn same(&self, known: &Json) -> bool {
        f64::from(*self).same(known)
    }
}

impl<T: DeltaState> DeltaState for Option<T> {
    fn load(value: &Json) -> Result<Self, Unfit> {
        if value.is_null() { Ok(None) } else { T::load(value).map(Some) }
    }

    fn save(&self) -> Result<Json, Unfit> {
        self.as_ref().map_or(Ok(Json::Null), T::save)
    }

    fn same(&self, known: &Json) -> bool {
        match self {
            None => known.is_null(),
            Some(value) => !known.is_null() && value.same(known),
        }
    }

    fn record(&self, known: &mut Json, patch: &mut Patch) -> Result<(), Unfit> {
        match self {
            Some(value) if !known.is_null() => value.record(known, patch),
            _ if self.same(known) => Ok(()),
            _ => super::replace(self, known, patch),
        }
    }
}

impl<T: DeltaState> DeltaState for Box<T> {
    fn load(value: &Json) -> Result<Self, Unfit> {
        T::load(value).map(Box::new)
    }

    fn save(&self) -> Result<Json, Unfit> {
        T::save(self)
    }

    fn same(&self, known: &Json) -> bool {
        T::same(self, known)
    }

    fn record(&self, known: &mut Json, patch: &mut Patch) -> Result<(), Unfit> {
        T::record(self, known, patch)
    }
}
