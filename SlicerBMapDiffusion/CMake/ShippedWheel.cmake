# The package's wheel, beside the module as Resources/Wheels; built when the package changed, without the network.
if(NOT Python3_EXECUTABLE)
  if(PYTHON_EXECUTABLE) # what Slicer's own configuration calls its Python
    set(Python3_EXECUTABLE ${PYTHON_EXECUTABLE})
  else()
    find_package(Python3 REQUIRED COMPONENTS Interpreter)
  endif()
endif()

set(_wheels ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/Resources/Wheels)
set(_wheel_built ${CMAKE_CURRENT_BINARY_DIR}/wheel_built)
file(GLOB_RECURSE _package_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/monai_bmaps/*.py)

add_custom_command(
  OUTPUT ${_wheel_built}
  COMMAND ${CMAKE_COMMAND}
    -DPYTHON=${Python3_EXECUTABLE}
    -DSOURCE=${PROJECT_SOURCE_DIR}
    -DWORK=${CMAKE_CURRENT_BINARY_DIR}/wheel
    -DWHEELS=${_wheels}
    -P ${CMAKE_CURRENT_LIST_DIR}/BuildWheel.cmake
  COMMAND ${CMAKE_COMMAND} -E touch ${_wheel_built}
  DEPENDS
    ${_package_files}
    ${PROJECT_SOURCE_DIR}/pyproject.toml
    ${CMAKE_CURRENT_LIST_DIR}/BuildWheel.cmake
  COMMENT "Building the wheel of monai-bmaps"
  VERBATIM
  )
add_custom_target(${MODULE_NAME}Wheel ALL DEPENDS ${_wheel_built})

install(
  DIRECTORY ${_wheels}
  DESTINATION ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/Resources
  COMPONENT Runtime
  FILES_MATCHING PATTERN "*.whl"
  )
