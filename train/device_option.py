"""`--device` of the published trainers: it asks for what is done anyway, or for what nothing here does."""


def contradiction(value: str) -> str:
    """What is wrong with a requested device; "" where training runs there anyway."""
    import torch  # here: 1.5 s that who does not give the option need not wait

    device, has_gpu = value.strip().lower(), torch.cuda.is_available()
    if device in ("cuda", "cuda:0"):
        return "" if has_gpu else "no GPU is seen here (CUDA_VISIBLE_DEVICES may hide it); leave it out to train on the CPU"
    if device == "cpu":
        return "a GPU is used where there is one; set CUDA_VISIBLE_DEVICES= (empty) to train on the CPU" if has_gpu else ""
    return "cuda or cpu; one GPU among several is chosen by CUDA_VISIBLE_DEVICES=NUMBER"
