"""Ids of Hugging Face's tokenizers for the texts of tests/helpers/varied_strings.ts. usage: make_families.py TEXTS.json NAME=tokenizer.json ... > families.json.gz
TEXTS.json is the list of texts; each NAME is a family of tests/helpers/real_tokenizers.ts. (tokenizers 0.23.)"""
import gzip, json, sys
from tokenizers import Tokenizer
texts = json.load(open(sys.argv[1]))
out = {}
for arg in sys.argv[2:]:
    name, path = arg.split("=", 1)
    tokenizer = Tokenizer.from_file(path)
    out[name] = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
sys.stdout.buffer.write(gzip.compress(json.dumps(out, separators=(",", ":")).encode(), 9, mtime=0))
