//! `#[derive(DeltaState)]`: one call per field.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Data, DeriveInput, Error, Field, Fields, LitStr, Result, parse_quote};

/// One field of the document.
struct Stored<'a> {
    name: String,
    field: &'a Field,
    /// Kept in serde's form and replaced as a whole.
    is_whole: bool,
}

/// Reads the `#[delta(…)]` attributes; none for a skipped field.
fn stored(field: &Field) -> Result<Option<Stored<'_>>> {
    let name = field.ident.as_ref().map(|ident| ident.to_string().trim_start_matches("r#").to_owned());
    let mut stored = Stored { name: name.unwrap_or_default(), field, is_whole: false };
    let mut is_skipped = false;
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("delta")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("rename") {
                stored.name = meta.value()?.parse::<LitStr>()?.value();
            } else if meta.path.is_ident("replace") {
                stored.is_whole = true;
            } else if meta.path.is_ident("skip") {
                is_skipped = true;
            } else {
                return Err(meta.error("`delta` knows `rename = \"…\"`, `replace` and `skip`"));
            }
            Ok(())
        })?;
    }
    Ok((!is_skipped).then_some(stored))
}

pub(crate) fn expand(item: TokenStream) -> Result<TokenStream> {
    let mut input: DeriveInput = syn::parse2(item)?;
    for parameter in input.generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(::podium_sdk::delta::DeltaState));
    }
    let body = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => {
                let stored = fields.named.iter().filter_map(|field| stored(field).transpose());
                object(&stored.collect::<Result<Vec<_>>>()?)
            }
            Fields::Unnamed(fields) => match fields.unnamed.first() {
                Some(only) if fields.unnamed.len() == 1 => inner(&only.ty),
                _ => {
                    let reason = "give the fields names: a document has no place for a list of unnamed ones";
                    return Err(Error::new_spanned(fields, reason));
                }
            },
            Fields::Unit => {
                return Err(Error::new_spanned(&input.ident, "a struct without fields has nothing to keep; use `()`"));
            }
        },
        Data::Enum(_) => whole(),
        Data::Union(_) => return Err(Error::new_spanned(&input.ident, "a union cannot be kept as JSON")),
    };
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::podium_sdk::delta::DeltaState for #name #arguments #bounds { #body }
    })
}

/// A struct with named fields: an object.
fn object(fields: &[Stored<'_>]) -> TokenStream {
    let calls = |plain: &str, whole: &str, arguments: &dyn Fn(&Stored<'_>) -> TokenStream| -> Vec<TokenStream> {
        let call = |field: &Stored<'_>| {
            let function = quote::format_ident!("{}", if field.is_whole { whole } else { plain });
            let (name, arguments) = (&field.name, arguments(field));
            quote!(::podium_sdk::delta::derive::#function(#name, #arguments))
        };
        fields.iter().map(call).collect()
    };
    let ident = |field: &Stored<'_>| field.field.ident.to_token_stream();
    let load = calls("load_field", "load_serde_field", &|field| {
        let ident = ident(field);
        quote!(&mut loaded.#ident, fields)
    });
    let save = calls("save_field", "save_serde_field", &|field| {
        let ident = ident(field);
        quote!(&self.#ident, &mut fields)
    });
    let same = calls("same_field", "same_serde_field", &|field| {
        let ident = ident(field);
        quote!(&self.#ident, fields)
    });
    let record = calls("record_field", "record_serde_field", &|field| {
        let ident = ident(field);
        quote!(&self.#ident, fields, patch)
    });
    functions(
        quote! {
            let fields = ::podium_sdk::delta::derive::object(value)?;
            let mut loaded = <Self as ::core::default::Default>::default();
            #(#load?;)*
            ::core::result::Result::Ok(loaded)
        },
        quote! {
            let mut fields = ::podium_sdk::private::Map::new();
            #(#save?;)*
            ::core::result::Result::Ok(::podium_sdk::Json::Object(fields))
        },
        quote! {
            known.as_object().is_some_and(|fields| true #(&& #same)*)
        },
        quote! {
            match known {
                ::podium_sdk::Json::Object(fields) => {
                    #(#record?;)*
                    ::core::result::Result::Ok(())
                }
                _ => ::podium_sdk::delta::replace(self, known, patch),
            }
        },
    )
}

/// A struct around one value: that value.
fn inner(ty: &syn::Type) -> TokenStream {
    let of = quote!(<#ty as ::podium_sdk::delta::DeltaState>);
    functions(
        quote!(#of::load(value).map(Self)),
        quote!(#of::save(&self.0)),
        quote!(#of::same(&self.0, known)),
        quote!(#of::record(&self.0, known, patch)),
    )
}

/// An enum: serde's form.
fn whole() -> TokenStream {
    let of = quote!(::podium_sdk::delta::derive);
    functions(
        quote!(#of::load_serde(value)),
        quote!(#of::save_serde(self)),
        quote!(#of::same_serde(self, known)),
        quote!(#of::record_serde(self, known, patch)),
    )
}

fn functions(load: TokenStream, save: TokenStream, same: TokenStream, record: TokenStream) -> TokenStream {
    let result = quote!(::core::result::Result);
    quote! {
        fn load(value: &::podium_sdk::Json) -> #result<Self, ::podium_sdk::delta::Unfit> { #load }
        fn save(&self) -> #result<::podium_sdk::Json, ::podium_sdk::delta::Unfit> { #save }
        fn same(&self, known: &::podium_sdk::Json) -> bool { #same }
        fn record(
            &self,
            known: &mut ::podium_sdk::Json,
            patch: &mut ::podium_sdk::delta::Patch,
        ) -> #result<(), ::podium_sdk::delta::Unfit> { #record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read() {
        let text = expand(quote! {
            struct Notes {
                #[delta(rename = "n")] count: u64,
                #[delta(replace)] raw: Foreign,
                #[delta(skip)] cache: Cache,
            }
        });
        let text = text.unwrap().to_string();
        assert!(text.contains(r#"record_field ("n" , & self . count"#), "{text}");
        assert!(text.contains(r#"record_serde_field ("raw" , & self . raw"#), "{text}");
        assert!(!text.contains("cache"), "{text}");
    }

    #[test]
    fn misuse_is_refused() {
        let refused = |item| expand(item).unwrap_err().to_string();
        assert!(refused(quote! { struct A { #[delta(merge)] b: u8 } }).contains("`delta` knows"));
        assert!(refused(quote! { struct A(u8, u8); }).contains("names"));
        assert!(refused(quote! { union A { b: u8 } }).contains("union"));
    }
}
