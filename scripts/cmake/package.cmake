# What the authors of modules find an installed hcsd by: headers, hcsd.pc and a
# package for CMake. All go by where they lie themselves, so that an
# installation may be moved, and one build be installed to any prefix.
include(CMakePackageConfigHelpers)

install(DIRECTORY include/hcs DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
    FILES_MATCHING PATTERN "*.h")

# Said once, in the header.
file(STRINGS include/hcs/handler.h HCS_HANDLER_ABI
    REGEX "HCS_HANDLER_ABI = [0-9]+")
string(REGEX REPLACE ".*HCS_HANDLER_ABI = ([0-9]+).*" "\\1"
    HCS_HANDLER_ABI "${HCS_HANDLER_ABI}")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/include/hcs/handler.h")

# --- CMake: find_package(hcsd), hcsd::handler.

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/hcsd")
add_library(hcsd_handler INTERFACE)
set_target_properties(hcsd_handler PROPERTIES EXPORT_NAME handler)
target_include_directories(hcsd_handler INTERFACE
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>"
    "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
# Found again by the package: a path of this machine does not go into it.
target_link_libraries(hcsd_handler INTERFACE
    "$<BUILD_INTERFACE:PkgConfig::CJSON>"
    "$<INSTALL_INTERFACE:PkgConfig::hcsd_CJSON>")
install(TARGETS hcsd_handler EXPORT hcsd-targets)
install(EXPORT hcsd-targets NAMESPACE hcsd:: DESTINATION "${package_dir}")

configure_package_config_file(scripts/cmake/hcsd-config.cmake.in
    "${PROJECT_BINARY_DIR}/hcsd-config.cmake"
    INSTALL_DESTINATION "${package_dir}"
    PATH_VARS CMAKE_INSTALL_BINDIR CMAKE_INSTALL_LIBDIR)
# Before 1.0 a second number may break what was built for another.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/hcsd-config-version.cmake"
    COMPATIBILITY SameMinorVersion)
install(FILES
    "${PROJECT_BINARY_DIR}/hcsd-config.cmake"
    "${PROJECT_BINARY_DIR}/hcsd-config-version.cmake"
    DESTINATION "${package_dir}")

# --- pkg-config.

# A folder of the installation, below ${prefix} unless it was given as absolute.
function(pc_folder folder out)
    if(IS_ABSOLUTE "${folder}")
        set(${out} "${folder}" PARENT_SCOPE)
    else()
        set(${out} "\${prefix}/${folder}" PARENT_SCOPE)
    endif()
endfunction()

pc_folder("${CMAKE_INSTALL_BINDIR}" HCS_PC_BINDIR)
pc_folder("${CMAKE_INSTALL_INCLUDEDIR}" HCS_PC_INCLUDEDIR)
pc_folder("${CMAKE_INSTALL_LIBDIR}" HCS_PC_LIBDIR)
file(RELATIVE_PATH HCS_PC_TO_PREFIX
    "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
string(REGEX REPLACE "/$" "" HCS_PC_TO_PREFIX "${HCS_PC_TO_PREFIX}")
configure_file(scripts/cmake/hcsd.pc.in hcsd.pc @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/hcsd.pc"
    DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

# --- What authors of handlers read, and the examples that it refers to.

install(FILES docs/handlers.md docs/exec.md docs/databases.md docs/http.md
    DESTINATION "${CMAKE_INSTALL_DOCDIR}")
if(IS_DIRECTORY "${PROJECT_SOURCE_DIR}/docs/examples")
    install(DIRECTORY docs/examples/
        DESTINATION "${CMAKE_INSTALL_DOCDIR}/examples"
        USE_SOURCE_PERMISSIONS)
endif()
