"""What demo, cluster, benchmarks and tests share, so that each of these is said once: tools of the workshop, not the product.

    progress     steps with their seconds; the error that names reason and remedy
    waiting      the one way of waiting
    client       kubectl, helm and reads of the cluster that an environment names
    namespace    one namespace of it, and what is waited for there
    charts       our Helm charts on it
    postgres     a real PostgreSQL started from its binaries
    release      the release before this one, as source
    samples      random requests and decisions of the trading domain
    tiny_llama   a tiny Llama with its tokenizer
    benchmark    what every benchmark prints

progress, waiting, client, namespace and charts need the standard library alone, because `python3 cluster` runs before any
virtual environment exists. What only one of the users needs does not belong here, and nothing of the product imports it.
"""
