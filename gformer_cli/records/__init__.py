"""What trainings noted: for spreadsheets, for TensorBoard and MLflow, and beside that of other runs.

A training appends a line to its journal (RUN/pretrain.jsonl, RUN/meta-train.jsonl) at every validation, whichever
process it is in. All else is made from there: a run that was killed and resumed has the points of one that was not.
"""
