//! From how many tokens on a model's provider keeps a beginning at all.

/// Parts of models' names and the tokens; the first that fits counts. Source: Anthropic's page on
/// prompt caching, 2026-11; of Sonnet 4.6 two numbers are told, and the larger one is here.
const TABLE: [(&str, u64); 12] = [
    ("opus-4-5", 4096),
    ("opus-4-6", 4096),
    ("opus-4-7", 4096),
    ("haiku-4-5", 4096),
    ("sonnet-4-6", 2048),
    ("3-5-haiku", 2048),
    ("haiku-3-5", 2048),
    ("3-haiku", 2048),
    ("opus-5", 512),
    ("opus-4", 1024),
    ("sonnet-4", 1024),
    ("3-7-sonnet", 1024),
];

/// Where the table says nothing.
const USUAL: u64 = 1024;

/// The fewest tokens that this model's provider keeps.
pub(super) fn tokens(model: &str) -> u64 {
    let model = model.to_lowercase().replace('.', "-");
    let row = TABLE.iter().find(|(part, _)| model.contains(part));
    row.map_or(USUAL, |(_, tokens)| *tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_is_found_in_every_providers_spelling() {
        for (model, expected) in [
            ("claude-opus-4-5-20251101", 4096),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", 4096),
            ("claude-opus-4.6", 4096),
            ("claude-opus-4-1", 1024),
            ("claude-opus-4-8", 1024),
            ("claude-opus-5", 512),
            ("claude-4", 1024),
        ] {
            assert_eq!(tokens(model), expected, "{model}");
        }
    }
}
