# The models, beside the module as Resources/Bundles, in the build tree and in the package. The patterns leave out what
# runs leave in a checkout (eval/, runs/, checkpoints). configure_file copies again when a file changes.
set(_bundles ${PROJECT_SOURCE_DIR}/bundles)
file(GLOB_RECURSE _bundle_files CONFIGURE_DEPENDS RELATIVE ${_bundles}
  ${_bundles}/*/configs/*.json
  ${_bundles}/*/configs/*.conf
  ${_bundles}/*/demo/*.json
  ${_bundles}/*/demo/*.png
  ${_bundles}/*/docs/*.md
  ${_bundles}/*/docs/*.png
  ${_bundles}/*/docs/*.txt
  )
file(GLOB _bundle_single_files CONFIGURE_DEPENDS RELATIVE ${_bundles}
  ${_bundles}/*/LICENSE
  ${_bundles}/*/models/model.json
  ${_bundles}/*/models/model.pt
  )
foreach(_file IN LISTS _bundle_files _bundle_single_files)
  get_filename_component(_folder ${_file} DIRECTORY)
  configure_file(
    ${_bundles}/${_file}
    ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/Resources/Bundles/${_file}
    COPYONLY
    )
  install(
    FILES ${_bundles}/${_file}
    DESTINATION ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/Resources/Bundles/${_folder}
    COMPONENT Runtime
    )
endforeach()
