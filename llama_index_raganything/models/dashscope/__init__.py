"""DashScope, Alibaba Cloud's model service: qwen-max, qwen-vl-max, tongyi-embedding-vision-plus, qwen3-rerank.

The chat models need the extra ``[dashscope]``; the others do not.
"""
