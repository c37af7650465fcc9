//! Plain loops, compiled for the widest registers the processor has.

/// A loop that is worth compiling several times.
pub trait Loop {
    /// What it results in.
    type Output;

    /// Runs it. To be marked `#[inline(always)]`, and all that it calls in its loops too.
    fn run(self) -> Self::Output;
}

/// Runs a loop compiled for AVX-512, AVX2, or what every processor has, whichever is the best here.
#[inline]
pub fn widest<L: Loop>(of: L) -> L::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { with_avx512(of) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { with_avx2(of) };
        }
    }
    of.run()
}

/// # Safety
/// The processor has AVX-512F, BW and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn with_avx512<L: Loop>(of: L) -> L::Output {
    of.run()
}

/// # Safety
/// The processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<L: Loop>(of: L) -> L::Output {
    of.run()
}
