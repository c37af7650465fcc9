//! Folding Latin letters to ASCII. Other scripts stay as they are: taking the marks off Hangul, Thai or Devanagari
//! would change the words.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// `text` with the marks of its Latin letters taken off and Latin letters that do not decompose spelled out.
pub(super) fn ascii(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut folded = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii() {
            folded.push(letter);
        } else if is_diacritic(letter) && folded.ends_with(|before: char| before.is_ascii_alphabetic()) {
            // The mark of a letter that came decomposed.
        } else if !push_folded(&mut folded, letter) {
            folded.push(letter);
        }
    }
    folded
}

/// The marks Latin letters are decomposed into.
fn is_diacritic(letter: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&letter)
}

/// Whether `letter` has a spelling in visible ASCII; then it was appended.
fn push_folded(folded: &mut String, letter: char) -> bool {
    let length = folded.len();
    for part in std::iter::once(letter).nfkd().filter(|part| !is_combining_mark(*part)) {
        if part.is_ascii_graphic() {
            folded.push(part);
        } else if let Some(spelling) = spelled_out(part) {
            folded.push_str(spelling);
        } else {
            folded.truncate(length);
            return false;
        }
    }
    folded.len() > length
}

/// Latin letters that have no decomposition, by their base letter in Unicode's names; quotation marks and dashes.
fn spelled_out(letter: char) -> Option<&'static str> {
    Some(match letter {
        'Ⱥ' | 'Ə' => "A",
        'ᴀ' | 'ᶏ' | 'ⱥ' | 'ɐ' | 'ɑ' | 'ə' => "a",
        'Ꜳ' => "AA",
        'ꜳ' => "aa",
        'Æ' => "AE",
        'æ' | 'ᴁ' => "ae",
        'Ꜵ' => "AO",
        'ꜵ' => "ao",
        'Ꜷ' => "AU",
        'ꜷ' => "au",
        'Ꜹ' | 'Ꜻ' => "AV",
        'ꜹ' | 'ꜻ' => "av",
        'Ꜽ' => "AY",
        'ꜽ' => "ay",
        'Ɓ' | 'Ƃ' | 'Ƀ' | 'Ꞗ' => "B",
        'ƀ' | 'ƃ' | 'ɓ' | 'ʙ' | 'ᵬ' | 'ᶀ' | 'ꞗ' => "b",
        'Ƈ' | 'Ȼ' | 'Ꞓ' | 'Ꞔ' => "C",
        'ƈ' | 'ȼ' | 'ɕ' | 'ᴄ' | 'ꞓ' | 'ꞔ' => "c",
        'Đ' | 'Ð' | 'Ɖ' | 'Ɗ' | 'Ƌ' => "D",
        'đ' | 'ð' | 'ƌ' | 'ȡ' | 'ɖ' | 'ɗ' | 'ᴅ' | 'ᵭ' | 'ᶁ' | 'ᶑ' => "d",
        'ȸ' => "db",
        'ʣ' | 'ʥ' => "dz",
        'Ɇ' | 'Ǝ' | 'Ɛ' => "E",
        'ɇ' | 'ᴇ' | 'ᶒ' | 'ⱸ' | 'ǝ' | 'ɛ' | 'ɘ' => "e",
        'Ƒ' | 'Ꞙ' => "F",
        'ƒ' | 'ᵮ' | 'ᶂ' | 'ꜰ' | 'ꞙ' => "f",
        'Ɠ' | 'Ǥ' | 'Ꞡ' => "G",
        'ǥ' | 'ɠ' | 'ɡ' | 'ɢ' | 'ʛ' | 'ᶃ' | 'ꞡ' => "g",
        'Ħ' | 'Ⱨ' | 'Ɦ' => "H",
        'ħ' | 'ɦ' | 'ʜ' | 'ⱨ' | 'ꞕ' => "h",
        'Ƕ' => "HV",
        'ƕ' => "hv",
        'Ɨ' | 'Ɩ' => "I",
        'ɨ' | 'ɩ' | 'ɪ' | 'ı' | 'ᶖ' => "i",
        'Ɉ' | 'Ʝ' => "J",
        'ɉ' | 'ȷ' | 'ɟ' | 'ʝ' | 'ᴊ' => "j",
        'Ƙ' | 'Ⱪ' | 'Ꝁ' | 'Ꝃ' | 'Ꝅ' | 'Ꞣ' => "K",
        'ƙ' | 'ᴋ' | 'ᶄ' | 'ⱪ' | 'ꝁ' | 'ꝃ' | 'ꝅ' | 'ꞣ' => "k",
        'Ł' | 'Ƚ' | 'Ⱡ' | 'Ɫ' | 'Ꝉ' | 'Ɬ' => "L",
        'ł' | 'ƚ' | 'ȴ' | 'ɫ' | 'ɬ' | 'ɭ' | 'ʟ' | 'ᴌ' | 'ᶅ' | 'ⱡ' | 'ꝉ' | 'ꞎ' => "l",
        'Ỻ' => "LL",
        'ỻ' => "ll",
        'ʪ' => "ls",
        'ʫ' => "lz",
        'Ɱ' | 'Ɯ' => "M",
        'ɱ' | 'ɯ' | 'ᴍ' | 'ᵯ' | 'ᶆ' => "m",
        'Ɲ' | 'Ƞ' | 'Ŋ' | 'Ꞑ' | 'Ꞥ' => "N",
        'ƞ' | 'ȵ' | 'ɲ' | 'ɳ' | 'ɴ' | 'ŋ' | 'ŉ' | 'ᵰ' | 'ᶇ' | 'ꞑ' | 'ꞥ' => "n",
        'Ø' | 'Ɵ' | 'Ɔ' | 'Ꝋ' | 'Ꝍ' => "O",
        'ø' | 'ɵ' | 'ɔ' | 'ᴏ' | 'ⱺ' | 'ꝋ' | 'ꝍ' => "o",
        'Œ' => "OE",
        'œ' | 'ɶ' => "oe",
        'Ꝏ' => "OO",
        'ꝏ' => "oo",
        'Ȣ' => "OU",
        'ȣ' | 'ᴕ' => "ou",
        'Ƥ' | 'Ᵽ' | 'Ꝑ' | 'Ꝓ' | 'Ꝕ' => "P",
        'ƥ' | 'ᴘ' | 'ᵱ' | 'ᵽ' | 'ᶈ' | 'ꝑ' | 'ꝓ' | 'ꝕ' => "p",
        'Ɋ' | 'Ꝗ' | 'Ꝙ' => "Q",
        'ɋ' | 'ĸ' | 'ʠ' | 'ꝗ' | 'ꝙ' => "q",
        'ȹ' => "qp",
        'Ɍ' | 'Ɽ' | 'Ꞧ' => "R",
        'ɍ' | 'ɼ' | 'ɽ' | 'ɾ' | 'ʀ' | 'ᵲ' | 'ᵳ' | 'ᶉ' | 'ꞧ' => "r",
        'Ȿ' | 'Ꞩ' => "S",
        'ȿ' | 'ʂ' | 'ᵴ' | 'ᶊ' | 'ꜱ' | 'ꞩ' | 'ẜ' | 'ẝ' => "s",
        'ẞ' => "SS",
        'ß' => "ss",
        'Ŧ' | 'Ƭ' | 'Ʈ' | 'Ⱦ' => "T",
        'ŧ' | 'ƫ' | 'ƭ' | 'ȶ' | 'ʈ' | 'ᴛ' | 'ᵵ' | 'ⱦ' => "t",
        'Þ' | 'Ꝧ' => "TH",
        'þ' | 'ꝧ' | 'ᵺ' => "th",
        'ʦ' => "ts",
        'Ꜩ' => "TZ",
        'ꜩ' => "tz",
        'Ʉ' | 'Ꞹ' => "U",
        'ʉ' | 'ᴜ' | 'ᶙ' | 'ꞹ' => "u",
        'Ʋ' | 'Ʌ' | 'Ꝟ' => "V",
        'ʋ' | 'ʌ' | 'ᴠ' | 'ᶌ' | 'ⱱ' | 'ⱴ' | 'ꝟ' => "v",
        'Ꝡ' => "VY",
        'ꝡ' => "vy",
        'Ⱳ' => "W",
        'ᴡ' | 'ⱳ' => "w",
        'ᶍ' => "x",
        'Ƴ' | 'Ɏ' | 'Ỿ' => "Y",
        'ƴ' | 'ɏ' | 'ʏ' | 'ỿ' => "y",
        'Ƶ' | 'Ȥ' | 'Ȝ' | 'Ʒ' | 'Ⱬ' | 'Ɀ' => "Z",
        'ƶ' | 'ȥ' | 'ȝ' | 'ʒ' | 'ɀ' | 'ʐ' | 'ʑ' | 'ᴢ' | 'ᵶ' | 'ᶎ' | 'ⱬ' => "z",
        '‘' | '’' | '‚' | '‛' => "'",
        '“' | '”' | '„' | '‟' => "\"",
        '‐' | '‑' | '‒' | '–' | '—' => "-",
        _ => return None,
    })
}
