//! The attribute `#[backend]`: generates the manifest row of a backend from its impl block.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Error, Ident, ImplItem, ItemImpl, LitStr, Result, Token, Type, bracketed,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
};

/// The arguments of the attribute.
#[derive(Default)]
pub(crate) struct Attributes {
    summary: String,
    hosts: Vec<String>,
    sandbox: bool,
}

impl Parse for Attributes {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut attributes = Self::default();
        while !input.is_empty() {
            let name: Ident = input.parse()?;
            match name.to_string().as_str() {
                "sandbox" => attributes.sandbox = true,
                "summary" => {
                    input.parse::<Token![=]>()?;
                    attributes.summary = input.parse::<LitStr>()?.value();
                }
                "hosts" => {
                    input.parse::<Token![=]>()?;
                    let list;
                    bracketed!(list in input);
                    let hosts = Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?;
                    attributes.hosts = hosts.iter().map(LitStr::value).collect();
                }
                _ => {
                    return Err(Error::new(
                        name.span(),
                        "expected `summary`, `hosts` or `sandbox`",
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(attributes)
    }
}

/// The impl block, followed by the implementation of `Exported` with the manifest row. The methods in the block decide
/// which `overrides` bits are set.
pub(crate) fn expand(attributes: &Attributes, item: &ItemImpl) -> Result<TokenStream> {
    let is_backend = item
        .trait_
        .as_ref()
        .and_then(|(_, path, _)| path.segments.last())
        .is_some_and(|segment| segment.ident == "Backend");
    let backend = &*item.self_ty;
    let name = match backend {
        Type::Path(path) if is_backend => path.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    }
    .ok_or_else(|| Error::new_spanned(item.self_ty.as_ref(), "expected `impl Backend for` a named type"))?;

    let bits = item.items.iter().filter_map(|item| match item {
        ImplItem::Fn(function) => match function.sig.ident.to_string().as_str() {
            "send_bulk_sms" => Some(quote!(SEND_BULK_SMS)),
            "generate_security_code" => Some(quote!(GENERATE_SECURITY_CODE)),
            "generate_message" => Some(quote!(GENERATE_MESSAGE)),
            "validate_security_code" => Some(quote!(VALIDATE_SECURITY_CODE)),
            _ => None,
        },
        _ => None,
    });
    let Attributes {
        summary,
        hosts,
        sandbox,
    } = attributes;
    Ok(quote! {
        #item

        impl ::phone_verify_plugin_api::__private::Exported for #backend {
            const INFO: ::phone_verify_plugin_api::__private::BackendInfo =
                ::phone_verify_plugin_api::__private::BackendInfo {
                    name: #name,
                    summary: #summary,
                    sandbox: #sandbox,
                    overrides: 0 #(| ::phone_verify_plugin_api::__private::overrides::#bits)*,
                    hosts: &[#(#hosts),*],
                    options: <<#backend as ::phone_verify_plugin_api::Backend>::Options
                        as ::phone_verify_plugin_api::Options>::FIELDS,
                };
        }
    })
}
