//! Names of media (voice) hosts: which city a name tells of. The city is the host's, by its airport's code; the name's
//! present form is `c-<iata><nn>-<hex>.discord.media`, the older one `<place><number>.discord.media`.

/// Airport codes seen in names of media hosts, and those of the cities where media hosts have been announced.
const CITIES: &[(&str, &str)] = &[
    ("akl", "auckland"),
    ("ams", "amsterdam"),
    ("arn", "stockholm"),
    ("atl", "atlanta"),
    ("bom", "mumbai"),
    ("bos", "boston"),
    ("cdg", "paris"),
    ("cmh", "columbus"),
    ("cpt", "cape-town"),
    ("den", "denver"),
    ("dfw", "dallas"),
    ("dub", "dublin"),
    ("dxb", "dubai"),
    ("ewr", "newark"),
    ("eze", "buenos-aires"),
    ("fra", "frankfurt"),
    ("gig", "rio-de-janeiro"),
    ("gru", "sao-paulo"),
    ("hel", "helsinki"),
    ("hkg", "hong-kong"),
    ("iad", "washington"),
    ("icn", "seoul"),
    ("jnb", "johannesburg"),
    ("kix", "osaka"),
    ("lax", "los-angeles"),
    ("lhr", "london"),
    ("maa", "chennai"),
    ("mad", "madrid"),
    ("mel", "melbourne"),
    ("mia", "miami"),
    ("mrs", "marseille"),
    ("mxp", "milan"),
    ("nrt", "tokyo"),
    ("ord", "chicago"),
    ("otp", "bucharest"),
    ("pdx", "portland"),
    ("prg", "prague"),
    ("rtm", "rotterdam"),
    ("scl", "santiago"),
    ("sea", "seattle"),
    ("sin", "singapore"),
    ("sjc", "san-jose"),
    ("svo", "moscow"),
    ("syd", "sydney"),
    ("tlv", "tel-aviv"),
    ("vie", "vienna"),
    ("waw", "warsaw"),
    ("yul", "montreal"),
    ("yyz", "toronto"),
];

/// What names of media hosts end with.
pub const DOMAIN: &str = ".discord.media";

/// The city (lower case, words joined by `-`) or, of an unknown code, the code. `None` if it is no media host's name; hosts
/// of the domain that serve other ends (`latency`, `turn`) are none.
pub fn city(host: &str) -> Option<String> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let label = host.strip_suffix(DOMAIN)?;
    if let Some(rest) = label.strip_prefix("c-") {
        let (place, id) = rest.split_once('-')?;
        let (code, number) = (place.get(..3)?, place.get(3..)?);
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let hex = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_code = code.bytes().all(|byte| byte.is_ascii_lowercase());
        return (digits && hex && is_code).then(|| {
            let known = CITIES.iter().find(|(known, _)| *known == code);
            known.map_or(code, |(_, city)| city).to_owned()
        });
    }
    let place = label.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-');
    let is_name = !place.is_empty() && place.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    (is_name && place.len() < label.len()).then(|| place.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_names_tell_their_city() {
        for (host, expected) in [
            ("c-ams08-44aff7ca.discord.media", Some("amsterdam")),
            ("C-IAD10-B19CE4E8.discord.media.", Some("washington")),
            ("c-zzz01-00.discord.media", Some("zzz")),
            ("newark123.discord.media", Some("newark")),
            ("us-east-7.discord.media", Some("us-east")),
            ("latency.discord.media", None),
            ("turn.discord.media", None),
            ("c-ams08.discord.media", None),
            ("c-\u{e9}8-0.discord.media", None),
            ("rotterdam1234.example.org", None),
        ] {
            assert_eq!(city(host).as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn codes_are_sorted_and_there_once() {
        assert!(CITIES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
