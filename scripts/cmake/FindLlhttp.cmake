# Finds the HTTP parser llhttp and defines the target Llhttp::Llhttp.
#
# A system library is used where there is one. Debian 12 has none: its package
# node-llhttp ships the generated C sources, which are then compiled here, in
# strict mode. (From version 9 on strictness is chosen at run time, and strict
# is what it starts with.)
#
# Sets Llhttp_FOUND, and Llhttp_FROM to what was found.

if(NOT TARGET Llhttp::Llhttp)
    find_package(PkgConfig QUIET)
    if(PKG_CONFIG_FOUND)
        pkg_check_modules(LLHTTP QUIET IMPORTED_TARGET GLOBAL libllhttp)
    endif()
    find_path(Llhttp_INCLUDE_DIR llhttp.h)
    find_library(Llhttp_LIBRARY llhttp)

    # Sources are the same for every machine, so the root that a toolchain file
    # may set is left aside.
    find_path(Llhttp_SOURCE_DIR api.c
        PATHS /usr/share/llhttp /usr/local/share/llhttp
        NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
    find_path(Llhttp_SOURCE_INCLUDE_DIR llhttp.h
        PATHS /usr/share/include/llhttp /usr/local/share/include/llhttp
            "${Llhttp_SOURCE_DIR}" "${Llhttp_SOURCE_DIR}/include"
        NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
    mark_as_advanced(Llhttp_INCLUDE_DIR Llhttp_LIBRARY
        Llhttp_SOURCE_DIR Llhttp_SOURCE_INCLUDE_DIR)

    if(LLHTTP_FOUND)
        add_library(Llhttp::Llhttp ALIAS PkgConfig::LLHTTP)
        set(from "pkg-config, version ${LLHTTP_VERSION}")
    elseif(Llhttp_INCLUDE_DIR AND Llhttp_LIBRARY)
        add_library(Llhttp::Llhttp UNKNOWN IMPORTED)
        set_target_properties(Llhttp::Llhttp PROPERTIES
            IMPORTED_LOCATION "${Llhttp_LIBRARY}"
            INTERFACE_INCLUDE_DIRECTORIES "${Llhttp_INCLUDE_DIR}")
        set(from "${Llhttp_LIBRARY}")
    elseif(Llhttp_SOURCE_DIR AND Llhttp_SOURCE_INCLUDE_DIR)
        add_library(llhttp STATIC
            "${Llhttp_SOURCE_DIR}/api.c"
            "${Llhttp_SOURCE_DIR}/http.c"
            "${Llhttp_SOURCE_DIR}/llhttp.c")
        target_include_directories(llhttp SYSTEM PUBLIC
            "${Llhttp_SOURCE_INCLUDE_DIR}")
        # Public, since version 8's header changes with it.
        target_compile_definitions(llhttp PUBLIC LLHTTP_STRICT_MODE=1)
        # Not ours to tidy, and too slow without optimisation.
        target_compile_options(llhttp PRIVATE -w -O2)
        set_target_properties(llhttp PROPERTIES
            C_CLANG_TIDY "" POSITION_INDEPENDENT_CODE OFF)
        add_library(Llhttp::Llhttp ALIAS llhttp)
        set(from "compiled from ${Llhttp_SOURCE_DIR}")
    endif()
    set(Llhttp_FROM "${from}" CACHE INTERNAL "What find_package(Llhttp) found")
    unset(from)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Llhttp REQUIRED_VARS Llhttp_FROM)
