"""Writes text_metrics.json: what the programs that define the measures say of fixed pairs.

    pip install rouge-score==0.1.2 sacrebleu==2.6.0
    pip download --no-deps transformers==4.44.2     # holds SQuAD's evaluate-v2.0 as data/metrics/squad_metrics.py
    python make_text_metrics.py path/to/squad_metrics.py
"""
import ast
import collections
import json
import os
import re
import string
import sys

import sacrebleu
from sacrebleu.metrics import CHRF
from rouge_score import rouge_scorer
src=open(sys.argv[1]).read()
tree=ast.parse(src); names={"normalize_answer","get_tokens","compute_exact","compute_f1"}
mod=ast.Module([n for n in tree.body if isinstance(n,ast.FunctionDef) and n.name in names],[])
ns={"re":re,"string":string,"collections":collections}
exec(compile(mod,"squad","exec"),ns)
pairs=[
["Paris","Paris"],["paris.","The Paris"],["The capital of France is Paris.","Paris"],["",""],["","Paris"],["Paris",""],
["A kora has twenty-one strings.","A kora has 21 strings."],
["Batik is a way of decorating cloth with wax and dye.","Batik is a way of decorating cloth with wax and dye. Wax is drawn on the cotton with a copper pen called a canting, the cloth is dyed, and the waxed lines stay free of colour."],
["The gamelan is a traditional Polynesian dish that is made from a mixture of ingredients, including coconut.","A gamelan is an ensemble from Java and Bali made mostly of bronze gongs and metallophones, played together with drums."],
["an an the a","the"],["the","a"],["one two three four","four three two one"],["a b c d e f g","a c e g"],
["no overlap here","completely different words"],["$5.00 = five dollars","5.00 dollars"],["It's the dog's bone","its the dogs bone"],
["x","xy"],["xy","xyz"],["aaaa","aa"],["Hello,   world!\n\nBye.","hello world bye"],
["In 1951 Canada lifted the ban on the potlatch, which it had set in 1885.","The ban ended in 1951."],
["state-of-the-art e-mail","state of the art email"],["the the the cat","the cat the"],["Three cups are served: abol, tona and baraka.","abol, tona, and baraka: three cups"],
]
unicode=[["Löyly on höyryä.","löyly"],["《茶道》是日本的传统。","茶道是日本的传统文化。"],["Bashō wrote it","Basho wrote it"],["خط الثلث","الثلث"],["naïve café","naive cafe"],["👍🏽 yes","yes 👍"]]
sc=rouge_scorer.RougeScorer(["rougeL"],use_stemmer=False); chrf=CHRF()
def row(a,r,rouge):
    d={"answer":a,"reference":r,"exact":ns["compute_exact"](r,a),"f1":ns["compute_f1"](r,a),"chrf":chrf.sentence_score(a,[r]).score/100}
    if rouge: d["rouge_l"]=sc.score(r,a)["rougeL"].fmeasure
    return d
out={"made_with":{"rouge_score":"0.1.2","sacrebleu":sacrebleu.__version__,"squad":"evaluate-v2.0 as in transformers "+"4.44.2"},
"ascii":[row(a,r,True) for a,r in pairs],
# rouge_score drops letters beyond ASCII and SQuAD knows ASCII punctuation only: of these only chrF is comparable
"unicode":[{k:v for k,v in row(a,r,False).items() if k in("answer","reference","chrf")} for a,r in unicode]}
lines=["{",'"made_with": '+json.dumps(out["made_with"])+","]
for k in("ascii","unicode"):
    lines.append(f'"{k}": [\n'+",\n".join(json.dumps(x,ensure_ascii=False) for x in out[k])+"\n]"+("," if k=="ascii" else ""))
lines.append("}")
open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "text_metrics.json"), "w").write("\n".join(lines)+"\n")
