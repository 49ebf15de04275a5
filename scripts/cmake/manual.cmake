# Replaces the line @SETTINGS@ of the manual page IN with what HCSD prints for
# --help=man, and writes OUT. Run by the build: cmake -DHCSD=... -P manual.cmake
cmake_minimum_required(VERSION 3.21)

string(REPLACE "|" ";" emulator "${EMULATOR}")
execute_process(
    COMMAND ${emulator} "${HCSD}" --help=man
    OUTPUT_VARIABLE settings
    RESULT_VARIABLE rc)
if(NOT rc EQUAL 0)
    message(FATAL_ERROR "${HCSD} --help=man failed: ${rc}")
endif()
if(settings STREQUAL "")
    message(FATAL_ERROR "${HCSD} --help=man printed nothing")
endif()

# Read and written whole, never as a list: the text holds semicolons,
# brackets and backslashes.
file(READ "${IN}" page)
string(FIND "${page}" "\n@SETTINGS@\n" at)
if(at EQUAL -1)
    message(FATAL_ERROR "${IN} has no line @SETTINGS@")
endif()
string(STRIP "${settings}" settings)
string(REPLACE "\n@SETTINGS@\n" "\n${settings}\n" page "${page}")
string(REPLACE "@VERSION@" "${VERSION}" page "${page}")
file(WRITE "${OUT}" "${page}")
