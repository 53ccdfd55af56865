"""From a matrix to finished cells.

``planning`` says what there is to do; ``prepared_run`` and ``driver`` do it in stages (``stages``), each a queue of jobs
(``jobs``, ``schedule``) for worker processes (``pool``, ``worker``, ``fitting``, ``probe_runs``), and score what is complete.
Without a run folder: ``in_process``, ``unlabelled`` audio, ``final_training``, the adapters' ``contract``. ``imports``
takes predictions made elsewhere; ``vllm_server`` starts the server of an Audio-LLM; ``feature_audit`` looks after the store.
"""
