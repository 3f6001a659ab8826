//! `#[derive(Options)]`: from a struct to its option table and its reader.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Data, DeriveInput, Error, Expr, ExprLit, Field, Fields, Lit, LitStr, Meta, Result};

pub(crate) fn expand(item: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &item.data else {
        return Err(Error::new_spanned(
            &item.ident,
            "options are a struct with named fields",
        ));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(
            &item.ident,
            "options are a struct with named fields",
        ));
    };
    let rows = fields.named.iter().map(row).collect::<Result<Vec<_>>>()?;
    let names: Vec<_> = fields
        .named
        .iter()
        .filter_map(|field| field.ident.as_ref())
        .collect();
    let indexes = 0..names.len();
    let structure = &item.ident;
    Ok(quote! {
        impl ::phone_verify_plugin_api::Options for #structure {
            const FIELDS: &'static [::phone_verify_plugin_api::__private::OptionField] = &[#(#rows),*];

            fn read(
                mut reader: ::phone_verify_plugin_api::__private::OptionReader,
            ) -> ::core::result::Result<Self, ::phone_verify_plugin_api::Error> {
                #(let #names = reader.take(&Self::FIELDS[#indexes]);)*
                let built = (|| ::core::option::Option::Some(Self { #(#names: #names?),* }))();
                reader.build(built)
            }
        }
    })
}

/// One row of the option table.
fn row(field: &Field) -> Result<TokenStream> {
    let mut name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
    name = name.trim_start_matches("r#").to_uppercase();
    let (mut alias, mut help, mut example) = (String::new(), doc_comment(field), String::new());
    let (mut default, mut secret) = (String::new(), false);
    for attribute in field
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("option"))
    {
        attribute.parse_nested_meta(|meta| {
            let key = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            let text = || meta.value()?.parse::<LitStr>().map(|literal| literal.value());
            match key.as_str() {
                "name" => name = text()?,
                "alias" => alias = text()?,
                "help" => help = text()?,
                "example" => example = text()?,
                "secret" => secret = true,
                "default" => default = json(&meta.value()?.parse::<Lit>()?)?,
                _ => {
                    return Err(
                        meta.error("expected `name`, `alias`, `default`, `help`, `example` or `secret`")
                    );
                }
            }
            Ok(())
        })?;
    }
    let value_type = &field.ty;
    let no_default = default.is_empty();
    Ok(quote! {
        ::phone_verify_plugin_api::__private::OptionField {
            name: #name,
            alias: #alias,
            value_type: <#value_type as ::phone_verify_plugin_api::OptionValue>::TYPE,
            required: #no_default && <#value_type as ::phone_verify_plugin_api::OptionValue>::REQUIRED,
            secret: #secret || <#value_type as ::phone_verify_plugin_api::OptionValue>::SECRET,
            default: #default,
            help: #help,
            example: #example,
        }
    })
}

fn doc_comment(field: &Field) -> String {
    let lines = field.attrs.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text), ..
            }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// A literal as JSON, for the manifest and the reader alike.
fn json(literal: &Lit) -> Result<String> {
    match literal {
        Lit::Str(text) => {
            let mut json = String::from("\"");
            for character in text.value().chars() {
                match character {
                    '"' | '\\' => json.extend(['\\', character]),
                    '\u{0}'..'\u{20}' => json.push_str(&format!("\\u{:04x}", u32::from(character))),
                    _ => json.push(character),
                }
            }
            json.push('"');
            Ok(json)
        }
        Lit::Int(_) | Lit::Bool(_) => Ok(literal.to_token_stream().to_string()),
        _ => Err(Error::new_spanned(
            literal,
            "a default is a text, a whole number, true or false",
        )),
    }
}
