# The Debian package: cpack --config BUILD_DIR/CPackConfig.cmake. tests/checks/package holds it.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/package)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_CONTACT "The Tidemark authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "measures how language models behave as the context grows")
set(CPACK_PACKAGE_DESCRIPTION "Transformers, state-space models and hybrids on one engine with the same kernels:
time to first token, time per output token, memory by what holds it, and time
operator by operator. Sweeps, predictions for other devices, reports.")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)  # needs dpkg-dev
include(CPack)
