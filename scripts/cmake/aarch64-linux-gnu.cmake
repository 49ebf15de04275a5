# Cross build for 64-bit Arm (Raspberry Pi 3 and newer) on a Debian machine of
# another architecture. The libraries come from Debian's arm64 packages, which
# live beside the machine's own; scripts/packages.sh cross installs them all.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)

# pkg-config would answer for this machine's own libraries.
set(ENV{PKG_CONFIG_LIBDIR}
    /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)

# Runs what was built: tests, and hcsd for its manual page. Not with
# "-L /usr/aarch64-linux-gnu": that pairs the loader of the cross compiler's libc
# with the libc that came with the libraries, and the first thread hangs.
find_program(HCS_QEMU_AARCH64 qemu-aarch64)
mark_as_advanced(HCS_QEMU_AARCH64)
if(HCS_QEMU_AARCH64)
    set(CMAKE_CROSSCOMPILING_EMULATOR "${HCS_QEMU_AARCH64}")
endif()
