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
    webhook: Option<LitStr>,
    receipts: Option<LitStr>,
    channels: Vec<String>,
    owns_code: bool,
    wants_code: bool,
}

/// The values of `webhook`.
const WEBHOOKS: [&str; 2] = ["signed", "secret"];
/// The values of `receipts`.
const RECEIPTS: [&str; 2] = ["carrier", "handset"];

/// `= "…"`
fn text(input: ParseStream<'_>) -> Result<LitStr> {
    input.parse::<Token![=]>()?;
    input.parse()
}

/// `= "…"`, one of these two.
fn one_of(input: ParseStream<'_>, allowed: [&str; 2]) -> Result<LitStr> {
    let text = text(input)?;
    if allowed.contains(&text.value().as_str()) {
        return Ok(text);
    }
    let [first, second] = allowed;
    Err(Error::new(
        text.span(),
        format!("expected {first:?} or {second:?}"),
    ))
}

/// `= ["…", …]`
fn texts(input: ParseStream<'_>) -> Result<Vec<String>> {
    input.parse::<Token![=]>()?;
    let list;
    bracketed!(list in input);
    let texts = Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?;
    Ok(texts.iter().map(LitStr::value).collect())
}

impl Parse for Attributes {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut attributes = Self::default();
        while !input.is_empty() {
            let name: Ident = input.parse()?;
            match name.to_string().as_str() {
                "sandbox" => attributes.sandbox = true,
                "summary" => attributes.summary = text(input)?.value(),
                "hosts" => attributes.hosts = texts(input)?,
                "webhook" => attributes.webhook = Some(one_of(input, WEBHOOKS)?),
                "receipts" => attributes.receipts = Some(one_of(input, RECEIPTS)?),
                "channels" => attributes.channels = texts(input)?,
                "owns_code" => attributes.owns_code = true,
                "wants_code" => attributes.wants_code = true,
                _ => {
                    return Err(Error::new(
                        name.span(),
                        "expected `summary`, `hosts`, `sandbox`, `webhook`, `receipts`, `channels`, `owns_code` or \
                         `wants_code`",
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

impl Attributes {
    /// What the attributes say must be in the block, and the other way round: a host would call a method in vain, or
    /// never.
    fn fit(&self, item: &ItemImpl) -> Result<()> {
        let method = |name: &str| {
            item.items.iter().find_map(|item| match item {
                ImplItem::Fn(function) if function.sig.ident == name => Some(&function.sig.ident),
                _ => None,
            })
        };
        match (method("receive"), &self.webhook) {
            (Some(receive), None) => {
                return Err(Error::new(
                    receive.span(),
                    "say who checks that a request is the provider's: `webhook = \"signed\"` if `receive` checks a \
                     signature of every request, `webhook = \"secret\"` if the address must hold a secret",
                ));
            }
            (None, Some(webhook)) => {
                return Err(Error::new(webhook.span(), "`webhook` needs the method `receive`"));
            }
            _ => {}
        }
        match (method("validate_security_code"), method("cancel")) {
            (None, _) if self.owns_code => Err(Error::new_spanned(
                &item.self_ty,
                "`owns_code` needs the method `validate_security_code`, which asks the provider",
            )),
            (_, Some(cancel)) if !self.owns_code => Err(Error::new(
                cancel.span(),
                "`cancel` is for a backend with `owns_code`: the host ends what it began itself",
            )),
            _ => Ok(()),
        }
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
            "receive" => Some(quote!(RECEIVE)),
            "feedback" => Some(quote!(FEEDBACK)),
            "balance" => Some(quote!(BALANCE)),
            "cancel" => Some(quote!(CANCEL)),
            "extension" => Some(quote!(EXTENSION)),
            _ => None,
        },
        _ => None,
    });
    attributes.fit(item)?;
    let Attributes {
        summary,
        hosts,
        sandbox,
        webhook,
        receipts,
        channels,
        owns_code,
        wants_code,
    } = attributes;
    let [webhook, receipts] =
        [webhook, receipts].map(|text| text.as_ref().map(LitStr::value).unwrap_or_default());
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
                    webhook: #webhook,
                    receipts: #receipts,
                    channels: &[#(#channels),*],
                    owns_code: #owns_code,
                    wants_code: #wants_code,
                    options: <<#backend as ::phone_verify_plugin_api::Backend>::Options
                        as ::phone_verify_plugin_api::Options>::FIELDS,
                };
        }
    })
}
