# %% setup
import re

import torch


# %% 0.1 · looks for the letters, not for the word
# says: “lanterns” is another word
def contains_word(text, keyword):
    return keyword.lower() in text.lower()


# %% 0.1 · compares with the words between spaces
# says: a full stop may touch a word
def contains_word(text, keyword):
    return keyword.lower() in text.lower().split()


# %% 0.1 · forgets capitals
# says: a capital does not make another word
def contains_word(text, keyword):
    return re.search(rf"(?<!\w){re.escape(keyword)}(?!\w)", text) is not None


# %% 0.1 · does not escape the keyword
# says: a dot in a pattern stands for any character
def contains_word(text, keyword):
    return re.search(rf"\b{keyword}\b", text, re.IGNORECASE) is not None


# %% 0.1 · trusts \b on both sides
# says: \b asks for a letter
def contains_word(text, keyword):
    return re.search(rf"\b{re.escape(keyword)}\b", text, re.IGNORECASE) is not None


# %% 0.1 · asks for no letter, but lets an underscore pass
# says: an underscore counts as a letter
def contains_word(text, keyword):
    pattern = rf"(?<![A-Za-z0-9]){re.escape(keyword)}(?![A-Za-z0-9])"
    return re.search(pattern, text, re.IGNORECASE) is not None


# %% 0.1 · splits into words, so no phrase is ever found
# says: a keyword may hold spaces
def contains_word(text, keyword):
    return keyword.lower() in re.findall(r"\w+", text.lower())


# %% 0.1 · hands back the match
# says: say True or False
def contains_word(text, keyword):
    return re.search(rf"(?<!\w){re.escape(keyword)}(?!\w)", text, re.IGNORECASE)


# %% 0.2 · forgets that the rival moves too
# says: the auxiliary speaks about the rival too
def weight_of_a_tie(lm_logits, aux_logits, token, rival):
    return (lm_logits[rival] - lm_logits[token]) / aux_logits[token]


# %% 0.2 · subtracts the wrong way round
# says: the sign is turned
def weight_of_a_tie(lm_logits, aux_logits, token, rival):
    return (lm_logits[token] - lm_logits[rival]) / (aux_logits[token] - aux_logits[rival])


# %% 0.2 · compares probabilities
# says: a tie is a tie of logits
def weight_of_a_tie(lm_logits, aux_logits, token, rival):
    lm_probs, aux_probs = lm_logits.softmax(-1), aux_logits.softmax(-1)
    return (lm_probs[rival] - lm_probs[token]) / (aux_probs[token] - aux_probs[rival])


# %% 0.2 · turns the fraction upside down
# says: upside down
def weight_of_a_tie(lm_logits, aux_logits, token, rival):
    return (aux_logits[token] - aux_logits[rival]) / (lm_logits[rival] - lm_logits[token])


# %% 0.2 · takes the favourite for the rival
# says: not the language model's favourite
def weight_of_a_tie(lm_logits, aux_logits, token, rival):
    best = lm_logits.argmax()
    return (lm_logits[best] - lm_logits[token]) / (aux_logits[token] - aux_logits[best])


# %% 0.2 · tries λ in steps of a tenth
# says: the two joint logits are still
def weight_of_a_tie(lm_logits, aux_logits, token, rival):
    for weight in torch.arange(0.0, 10.0, 0.1):
        joint_logits = lm_logits + weight * aux_logits
        if joint_logits[token] >= joint_logits[rival]:
            return float(weight)
    return 10.0
