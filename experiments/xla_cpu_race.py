"""As many long XLA CPU programs at once as the thread pool has threads give wrong results, without an error.

Seen with jax and jaxlib 0.7.0, 0.7.2, 0.8.3, 0.9.2, 0.10.0 and 0.10.2 on Linux x86-64: loops that run at once in Python
threads differ from the same loops alone by as much as their values. The cause is read in the sources of XLA and Eigen.

1. The intra-op pool has max(cores, CPU devices) threads, each with a queue of 1024 tasks. A parallel kernel of XLA
   (Worker::Parallelize) puts a task for another thread into the queue and, if none comes, does all the work itself;
   the task stays. When each thread of the pool carries a loop of its own, none is idle and the queues fill.
2. A full queue makes Eigen's ThreadPool::Schedule run the task at once, inside the caller.
3. In a threaded Eigen contraction with two or more slices of its length (more than 320), pack_rhs packs a block into
   memory of its thread and calls signal_switch, which enqueues the packing of the next slice. Run inside the caller,
   that packs another block into the same memory before the kernel of this slice has read it. (enqueue_packing_helper
   avoids just this, by enqueueing, which no longer helps once the queue is full.)

Right: XLA_FLAGS=--xla_disable_hlo_passes=cpu-parallel-task-assigner, by which nothing is cut into parts and queues stay
empty; or one program fewer at once than the pool has threads (on two cores: --devices 3 --programs 2). No help, each in
XLA_FLAGS: xla_cpu_multi_thread_eigen=false, xla_cpu_enable_concurrency_optimized_scheduler=false,
xla_cpu_use_fusion_emitters=false, xla_cpu_parallel_codegen_split_count=1, xla_backend_optimization_level=0.
"""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

cores = int(os.environ.get("NPROC", 0)) or len(os.sched_getaffinity(0))
parser = argparse.ArgumentParser()
parser.add_argument("--devices", type=int, default=1, help="CPU devices: the pool has max(cores, devices) threads")
parser.add_argument("--programs", type=int, help="programs at once (default: as many as the pool has threads)")
args = parser.parse_args()
threads = max(cores, args.devices)
programs = args.programs or threads
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", args.devices)
print(f"jax {jax.__version__}: {programs} programs at once, {threads} threads in the pool")


def step(_: int, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve along the positions (in Eigen, because of the wide padding); then four elementwise parallel kernels."""
    pad, layout = kernel.shape[1] - 1, ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(x, kernel, (1, 1), [(0, 0), (pad, pad)], dimension_numbers=layout)
    y = 2 * jnp.sin(y[:, :, : x.shape[2]])
    for _ in range(4):
        y = y - jnp.mean(y)
    return y


run = jax.jit(lambda steps, x, kernel: lax.fori_loop(0, steps, lambda i, x: step(i, x, kernel), x))
rng = np.random.RandomState(0)
inputs = [rng.randn(1, 1, 2048 * max(threads, 2), 24).astype("f") for _ in range(programs)]
for taps in (13, 16):
    kernel = (rng.randn(1, taps, 24, 24) / np.sqrt(24 * taps)).astype("f")
    for steps in (50, 100, 200, 400):
        alone = [np.asarray(run(steps, x, kernel)) for x in inputs]
        with ThreadPoolExecutor(programs) as pool:
            both = list(pool.map(lambda x, n=steps, kernel=kernel: np.asarray(run(n, x, kernel)), inputs))
        difference = max(float(np.abs(a - b).max()) for a, b in zip(alone, both, strict=True))
        print(f"contraction length {24 * taps}, {steps} steps: largest difference {difference:.3g}", flush=True)
