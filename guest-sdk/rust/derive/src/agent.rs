//! `#[agent]`: completes the implementation and exports the component.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Ident, ImplItem, ItemImpl, Result};

/// The hooks of the contract, as methods and as flags of `describe`.
const HOOKS: [(&str, &str); 7] = [
    ("on_init", "ON_INIT"),
    ("on_message", "ON_MESSAGE"),
    ("on_steer", "ON_STEER"),
    ("on_config_change", "ON_CONFIG_CHANGE"),
    ("on_idle", "ON_IDLE"),
    ("on_shutdown", "ON_SHUTDOWN"),
    ("migrate", "MIGRATE"),
];

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`#[agent]` takes no arguments"));
    }
    let mut block: ItemImpl = syn::parse2(item)?;
    let is_agent = block
        .trait_
        .as_ref()
        .is_some_and(|(_, path, _)| path.segments.last().is_some_and(|segment| segment.ident == "Agent"));
    if !is_agent {
        return Err(Error::new_spanned(&block.self_ty, "`#[agent]` belongs on `impl Agent for …`"));
    }
    if !block.generics.params.is_empty() {
        return Err(Error::new_spanned(&block.generics, "an agent is one type, without parameters"));
    }

    let defines = |wanted: &str| {
        block.items.iter().any(|item| matches!(item, ImplItem::Type(defined) if defined.ident == wanted))
    };
    let (state, config) = (defines("State"), defines("Config"));
    let flags: Vec<Ident> = block
        .items
        .iter()
        .filter_map(|item| match item {
            ImplItem::Fn(method) => Some(&method.sig.ident),
            _ => None,
        })
        .filter_map(|name| {
            let (_, flag) = HOOKS.iter().find(|(hook, _)| name == hook)?;
            Some(Ident::new(flag, name.span()))
        })
        .collect();

    if !state {
        block.items.push(syn::parse_quote! { type State = (); });
    }
    if !config {
        block.items.push(syn::parse_quote! { type Config = ::podium_sdk::Json; });
    }
    block.items.push(syn::parse_quote! {
        const HOOKS: ::podium_sdk::Hooks =
            ::podium_sdk::Hooks::empty()#(.union(::podium_sdk::Hooks::#flags))*;
    });
    let agent = &block.self_ty;
    Ok(quote! {
        #block

        // Only a component has exports; natively an agent is a library for its unit tests, and
        // naming it keeps the compiler from calling it unused.
        const _: () = {
            type Exports = ::podium_sdk::private::Shim<#agent>;
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn() = ::podium_sdk::private::check::<Exports>;
            #[cfg(target_arch = "wasm32")]
            ::podium_sdk::private::export_agent!(Exports with_types_in ::podium_sdk::bindings);
        };
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(item: TokenStream) -> String {
        expand(TokenStream::new(), item).unwrap().to_string()
    }

    #[test]
    fn only_written_hooks_are_reported() {
        let text = written(quote! {
            impl Agent for A {
                async fn on_init(cx: &mut Ctx<Self>) -> Result<()> { Ok(()) }
                async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> { Ok(()) }
            }
        });
        let hooks = text.split("const HOOKS").nth(1).unwrap().split(';').next().unwrap();
        for (_, flag) in HOOKS {
            assert_eq!(hooks.contains(flag), ["ON_INIT", "ON_MESSAGE"].contains(&flag), "{flag} in {hooks}");
        }
    }

    #[test]
    fn types_are_filled_in_only_where_missing() {
        let text = written(quote! { impl podium_sdk::Agent for A { type State = Mine; } });
        assert_eq!(text.matches("type State").count(), 1);
        assert_eq!(text.matches("type Config = :: podium_sdk :: Json").count(), 1);
    }

    #[test]
    fn misuse_is_refused() {
        let refused = |arguments, item| expand(arguments, item).unwrap_err().to_string();
        assert!(refused(quote!(warm), quote! { impl Agent for A {} }).contains("no arguments"));
        assert!(refused(quote!(), quote! { impl A {} }).contains("impl Agent for"));
        assert!(refused(quote!(), quote! { impl<T> Agent for A<T> {} }).contains("without parameters"));
        assert!(expand(quote!(), quote! { struct A; }).is_err());
    }
}
