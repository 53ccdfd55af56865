"""Audio-LLMs trained here: LoRA and projector on the folds that everybody else learns from, answered through a vLLM server.

``parts`` puts a small model together from parts that are at hand; ``tower`` is its frozen ear, run once per clip; ``lessons`` are
the words; ``network`` what learns; ``loop`` trains; ``fits`` keeps what a fit learnt; ``predictor`` is the system;
``budget`` says what a training costs before it is begun.
"""
