//! `#[derive(Options)]`: generates the option table of the manifest and the reader from a struct.
//!
//! Invariant: mistakes that can be detected here (two options with one name, a default of the wrong type) are compile
//! errors.

use std::fmt::Write;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Expr, ExprLit, Field, Fields, Lit, LitStr, Meta, Result};

/// The implementation of `Options` for the struct.
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
    let mut rows = Vec::new();
    let mut taken: Vec<String> = Vec::new();
    for field in &fields.named {
        let row = Row::of(field)?;
        for name in [&row.name, &row.alias]
            .into_iter()
            .filter(|name| !name.is_empty())
        {
            let folded = name.to_lowercase().replace('-', "_");
            if taken.contains(&folded) {
                return Err(Error::new_spanned(field, format!("two options are named {name}")));
            }
            taken.push(folded);
        }
        rows.push(row.tokens(field));
    }
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

/// One option in the manifest.
#[derive(Default)]
struct Row {
    name: String,
    alias: String,
    help: String,
    example: String,
    /// The default as JSON (empty: none), and the option type that such a literal fits.
    default: String,
    default_type: &'static str,
    secret: bool,
}

impl Row {
    /// Reads the field's name, type, doc comment and `#[option(…)]`.
    fn of(field: &Field) -> Result<Self> {
        let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut row = Self {
            name: name.trim_start_matches("r#").to_uppercase(),
            help: doc_comment(field),
            ..Self::default()
        };
        for attribute in &field.attrs {
            if !attribute.path().is_ident("option") {
                continue;
            }
            attribute.parse_nested_meta(|meta| {
                let key = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                let text = || meta.value()?.parse::<LitStr>().map(|literal| literal.value());
                match key.as_str() {
                    "name" => row.name = text()?,
                    "alias" => row.alias = text()?,
                    "help" => row.help = text()?,
                    "example" => row.example = text()?,
                    "secret" => row.secret = true,
                    "default" => (row.default, row.default_type) = default(&meta.value()?.parse::<Lit>()?)?,
                    _ => {
                        return Err(
                            meta.error("expected `name`, `alias`, `default`, `help`, `example` or `secret`")
                        );
                    }
                }
                Ok(())
            })?;
        }
        Ok(row)
    }

    fn tokens(&self, field: &Field) -> TokenStream {
        let Self {
            name,
            alias,
            help,
            example,
            default,
            default_type,
            secret,
        } = self;
        let value_type = &field.ty;
        let no_default = default.is_empty();
        quote! {
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
            .checked(#default_type)
        }
    }
}

/// The field's doc comment on one line. It becomes the option's help text.
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

/// A literal as JSON, for manifest and reader, and the option type that it fits.
fn default(literal: &Lit) -> Result<(String, &'static str)> {
    match literal {
        Lit::Str(text) if text.value().trim().is_empty() => Err(Error::new_spanned(
            literal,
            "an option is never empty: leave `default` out and make the field an `Option<String>`",
        )),
        Lit::Str(text) => {
            let mut json = String::from("\"");
            for character in text.value().chars() {
                match character {
                    '"' | '\\' => json.extend(['\\', character]),
                    '\u{0}'..'\u{20}' => {
                        // Writing to a `String` cannot fail.
                        let _ = write!(json, "\\u{:04x}", u32::from(character));
                    }
                    _ => json.push(character),
                }
            }
            json.push('"');
            Ok((json, "string"))
        }
        Lit::Int(number) => Ok((number.base10_digits().to_owned(), "integer")),
        Lit::Bool(flag) => Ok((flag.value.to_string(), "bool")),
        _ => Err(Error::new_spanned(
            literal,
            "a default is a text, a whole number, true or false",
        )),
    }
}
